"""The tables of ``search_config`` against HF itself: "without effect" has to be true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.setting_values import OF_OTHER_RELEASES, OTHER
from transformers import CompileConfig, GenerationConfig, PreTrainedModel

from beamgen import BeamgenError, SearchConfig, open_checkpoint
from beamgen.settings.hf_fields import WITHOUT_EFFECT
from beamgen.settings.rules import RULES
from beamgen.settings.table import SAMPLING, SETTINGS

# Prompts that hold most of the vocabulary, for the fields that look for repetitions.
PROMPT = torch.stack((torch.arange(3, 90), torch.arange(89, 2, -1)))
VALUES = {**OTHER, "compile_config": CompileConfig()}
#: Makes an assistant of the model, which then answers in a form of its own.
ASSISTANTS_OWN = {"is_assistant"}


@pytest.fixture(scope="module")
def model(checkpoints: Callable[[str], Path]) -> PreTrainedModel:
    loaded = open_checkpoint(checkpoints("gpt2")).load_model()
    loaded.generation_config = GenerationConfig()
    return loaded


def _sequences(model: PreTrainedModel, beams: int, **fields) -> list[list[int]]:
    config = GenerationConfig(
        num_beams=beams, max_new_tokens=16, eos_token_id=[2, 45, 60], pad_token_id=0
    )
    for name, value in fields.items():
        setattr(config, name, value)
    with torch.no_grad():
        output = model.generate(
            PROMPT, attention_mask=torch.ones_like(PROMPT), generation_config=config
        )
    return (output if isinstance(output, torch.Tensor) else output.sequences).tolist()


OURS = {setting.name for setting in SETTINGS if not setting.in_hf}
UNHEEDED = (
    (WITHOUT_EFFECT | {*SAMPLING} | {"output_scores"}) - ASSISTANTS_OWN - OURS - OF_OTHER_RELEASES
)


@pytest.mark.parametrize("name", sorted(UNHEEDED))
def test_a_field_that_is_passed_over_changes_nothing_in_hf(
    model: PreTrainedModel, name: str
) -> None:
    value = {name: VALUES[name]}
    assert _sequences(model, 4, **value) == _sequences(model, 4)
    if name != "assistant_early_exit":  # greedy: another algorithm, for models trained for it
        assert _sequences(model, 1, **value) == _sequences(model, 1)


def test_what_hf_did_to_some_rows_only_is_refused_under_its_rules(model: PreTrainedModel) -> None:
    """It is named after encoders, and yet acts on a decoder's prompt."""
    assert _sequences(model, 4, encoder_repetition_penalty=3.0) != _sequences(model, 4)
    config = GenerationConfig(eos_token_id=2, pad_token_id=0, encoder_repetition_penalty=3.0)
    for release in ("4.57", "5.18"):
        with pytest.raises(BeamgenError, match="first rows of a batch only") as error:
            SearchConfig.from_generation_config(config, rules=RULES[release])
        assert release in error.value.cause
        with pytest.raises(BeamgenError, match="first rows of a batch only"):
            SearchConfig.from_generation_config(
                config,
                {"num_beams": 1, "do_sample": True, "num_return_sequences": 2},
                rules=RULES[release],
            )
        one = SearchConfig.from_generation_config(config, {"num_beams": 1}, rules=RULES[release])
        assert one.encoder_repetition_penalty == 3.0
    assert SearchConfig.from_generation_config(config, rules=RULES["5.23"]).num_beams == 5


def test_a_field_that_hf_does_not_know_is_refused() -> None:
    config = GenerationConfig(eos_token_id=2, pad_token_id=0, my_own_penalty=1.5)
    with pytest.raises(BeamgenError, match=r"my_own_penalty=1\.5"):
        SearchConfig.from_generation_config(config)
