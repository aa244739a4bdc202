"""LoRA fine-tuning with transformers' Trainer and peft: a JSONL file becomes a PEFT folder.

It may import everything up to ``export``; torch, transformers and peft only once a training
is known to be possible, so that a mistake is answered at once.
"""
