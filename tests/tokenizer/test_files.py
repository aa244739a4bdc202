"""Which files of a folder are a tokenizer's: those that HF's classes read, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import transformers

from beamgen.tokenizer.files import VOCABULARIES, has_tokenizer, tokenizer_files


def _folder(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return root


def _listed(folder: Path) -> list[str]:
    return [path.as_posix() for path in tokenizer_files(folder)]


def test_what_lies_beside_a_tokenizer_is_not_the_tokenizers(tmp_path: Path) -> None:
    own = [
        "added_tokens.json",
        "additional_chat_templates/tool_use.jinja",
        "chat_template.jinja",
        "qwen.tiktoken",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer.model.v3",
        "tokenizer_config.json",
    ]
    others = [
        "api_key.txt",
        "train.txt",
        "trainer_state.json",
        "preprocessor_config.json",
        "tokenization_own.py",
        "config.json",
        "model.safetensors",
        "additional_chat_templates/notes.txt",
        "sub/tokenizer.json",
    ]
    assert _listed(_folder(tmp_path, *own, *others)) == own


def test_versioned_files_are_those_that_the_config_names(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "tokenizer.4.0.0.json", "tokenizer.3.0.0.json", "up.json")
    config = {"fast_tokenizer_files": ["tokenizer.4.0.0.json", "../tokenizer.3.0.0.json"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert _listed(folder) == ["tokenizer.4.0.0.json", "tokenizer_config.json"]
    for broken in ("{", "[]", '{"fast_tokenizer_files": [7]}', "[" * 100_000):
        (folder / "tokenizer_config.json").write_text(broken)
        assert _listed(folder) == ["tokenizer_config.json"]


def test_a_chat_template_alone_is_no_tokenizer(tmp_path: Path) -> None:
    assert not has_tokenizer(_folder(tmp_path, "chat_template.jinja", "dict.txt", "emoji.json"))
    assert has_tokenizer(_folder(tmp_path, "spiece.model"))


def test_every_vocabulary_that_hf_names_is_known() -> None:
    """Of each tokenizer class in the mapping of the installed transformers."""
    named = set()
    for module in Path(transformers.__file__).parent.glob("models/*/tokenization_*.py"):
        source = module.read_text(encoding="utf-8")
        for block in source.split("VOCAB_FILES_NAMES = {")[1:]:
            named |= {
                line.split(":")[1].strip(' ,"')
                for line in block.split("}")[0].replace(", ", ",\n").splitlines()
                if '": "' in line
            }
    assert len(named) > 15
    assert named - {"tokenizer_config.json"} <= set(VOCABULARIES)
