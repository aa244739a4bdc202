"""What a LoRA is: its tensors, the slots of a graph that take it, the files that hold it.

Imports NumPy only; torch, peft and ONNX Runtime inside functions.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models": a linear layer's
``x W`` becomes ``x W + (x A) B``. In a file with slots, A and B are inputs of rank 0
until a call feeds others.
"""
