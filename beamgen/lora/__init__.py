"""LoRA: merged at export, or in slots of the file that are filled at run time.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models": a linear layer's
``x W`` becomes ``x W + (x A) B``. In a file with slots, A and B are inputs of rank 0
until a call feeds others.
"""
