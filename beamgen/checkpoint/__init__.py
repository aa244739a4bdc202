"""From a folder or the hub to a model in memory: config, weights, tokenizer, LoRA.

Imports ``settings`` and ``lora``; torch and transformers inside functions.
"""
