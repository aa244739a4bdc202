"""LoRA fine-tuning with transformers' Trainer and peft: a JSONL file becomes a PEFT folder.

Imports ``checkpoint`` and ``lora``; torch, transformers and peft inside functions.
"""
