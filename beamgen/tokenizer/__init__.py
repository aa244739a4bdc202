"""The tokenizer of a checkpoint or a package: which files it has, text to ids, ids to text.

Imports ``errors`` and ``settings.vocabulary`` only; tokenizers, jinja2 and what single kinds
need inside functions, and transformers in one module, for kinds that the others cannot read.
"""
