"""``beamgen new-adapter``: what it writes is an adapter, and what it says is what holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from support.architectures import INSTALLED

from beamgen import BeamgenError, DecoderAdapter, find_adapter, new_adapter, registry
from beamgen.cli import main
from beamgen.new_adapter.draft import draft
from beamgen.new_adapter.text import adapter_text
from beamgen.registry import is_encoder_decoder

#: What a draft would have to guess: states, and the cache of a model that HF runs without one.
NOT_DRAFTED = {
    "jamba": "no tiny JambaForCausalLM could be made or run",
    "openai-gpt": "OpenAIGPTLMHeadModel keeps something else than keys and values",
}
#: Of decoders: what ``new-adapter`` drafts.
HAND_WRITTEN = {
    adapter.model_type: adapter
    for adapter in INSTALLED
    if not is_encoder_decoder(adapter) and adapter.model_type not in NOT_DRAFTED
}


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if beamgen had no adapter at all."""
    find_adapter("llama")
    monkeypatch.setattr(registry, "_adapters", {})


def _written(text: str) -> DecoderAdapter:
    """The adapter that a file defines."""
    found: dict[str, object] = {}
    exec(compile(text, "new.py", "exec"), found)
    (adapter,) = registry.adapters()
    return adapter


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("model_type", HAND_WRITTEN)
def test_the_draft_says_what_a_hand_says(model_type: str, strangers: None) -> None:
    hand = HAND_WRITTEN[model_type]
    adapter = _written(adapter_text("new", draft(model_type)))
    config = adapter.tiny_config()
    assert set(hand.class_names) >= {adapter.class_names[0]}
    assert adapter.kv_geometry(config) == hand.kv_geometry(config)
    assert adapter.position_limits(config).max_positions in (256, 2048)


def test_what_it_writes_conforms(tmp_path: Path, strangers: None) -> None:
    made = new_adapter("new-one", "llama", tmp_path / "one.py")
    assert (made.failed, made.checks, len(made.passed)) == ([], 10, 10)
    assert registry.adapters() == []
    lines = made.file.read_text().splitlines()
    assert "class LlamaAdapter(DecoderAdapter):" in lines
    assert '    name = "new-one"' in lines
    assert '    class_names = ("LlamaForCausalLM", "LlamaModel")' in lines
    assert max(map(len, lines)) <= 100


@pytest.mark.slow
def test_what_does_not_hold_is_listed(tmp_path: Path, strangers: None, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["new-adapter", "mpt", "--from", "mpt"])
    assert result.exit_code == 3, result.output
    assert "FAILS  The exported step gives HF's logits" in result.output
    assert "next: correct mpt.py" in result.output
    assert "of 10 checks hold" in result.output
    assert (tmp_path / "mpt.py").is_file()


def test_a_file_is_never_replaced(tmp_path: Path, strangers: None) -> None:
    (tmp_path / "one.py").write_text("mine")
    with pytest.raises(BeamgenError, match="exists"):
        new_adapter("one", "llama", tmp_path / "one.py")
    assert (tmp_path / "one.py").read_text() == "mine"


@pytest.mark.parametrize("model_type", NOT_DRAFTED)
def test_nothing_is_guessed(model_type: str) -> None:
    with pytest.raises(BeamgenError) as refused:
        draft(model_type)
    assert NOT_DRAFTED[model_type] in refused.value.cause


@pytest.mark.parametrize(
    ("name", "model_type", "cause"),
    [
        ("gpt2", "olmo", "'gpt2' has an adapter already"),
        ("mine", "llama", "'llama' has an adapter already: llama in model_adapters.llama"),
        ("Mine!", "olmo", "'Mine!' is no name for an adapter"),
        ("mine", "no_such_type", "has no decoder of model_type 'no_such_type'"),
        ("mine", "mamba", "no file can be made of a 'mamba' model"),
    ],
)
def test_what_cannot_be_is_refused(name: str, model_type: str, cause: str, tmp_path: Path) -> None:
    with pytest.raises(BeamgenError) as refused:
        new_adapter(name, model_type, tmp_path / "new.py")
    assert cause in refused.value.cause
    assert not list(tmp_path.iterdir())
