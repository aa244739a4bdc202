"""Values that no field expects, drawn by hypothesis: a result, or an error of two lines."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from support.architectures import ARCHITECTURES
from support.attack import Attack
from support.hostile_values import SCALARS, TEXTS, VALUES, changes, run

from beamgen import BeamgenError, Generator, Package
from beamgen.settings.hf_fields import REFUSED, WITHOUT_EFFECT
from beamgen.settings.table import SETTINGS

#: Fields that a config has not, and that transformers reads.
CONFIG_FIELDS = (
    "_attn_implementation", "add_cross_attention", "architectures", "attn_implementation",
    "auto_map", "dtype", "head_dim", "is_decoder", "is_encoder_decoder", "label2id", "layer_types",
    "num_labels", "pruned_heads", "quantization_config", "rope_parameters", "rope_scaling",
    "sliding_window", "text_config", "tie_word_embeddings", "torch_dtype", "torchscript",
)  # fmt: skip
SETTING_NAMES = (*(setting.name for setting in SETTINGS), *REFUSED, *WITHOUT_EFFECT, "nonsense")


def examples(quick: int, slow: int) -> Callable[..., Any]:
    """How many are drawn, in ``make test`` and in ``make slow``."""
    return pytest.mark.parametrize("drawn", [quick, pytest.param(slow, marks=pytest.mark.slow)])


def answered(call: Callable[[], object]) -> None:
    """A result, or a line of cause and one of cure."""
    try:
        call()
    except BeamgenError as error:
        for line in (error.cause, error.cure):
            assert line.strip()
            assert "\n" not in line


# -- files, by commands


@examples(2, 60)
@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_a_config_with_other_values(
    file: str, name: str, drawn: int, attack: Attack, checkpoints: Callable, tmp_path: Path
) -> None:
    values = json.loads((checkpoints(name) / file).read_text())
    names = CONFIG_FIELDS if file == "config.json" else SETTING_NAMES
    number = itertools.count()

    def check(changed: dict[str, Any]) -> None:
        folder = tmp_path / str(next(number))
        shutil.copytree(checkpoints(name), folder / "ck")
        (folder / "ck" / file).write_text(json.dumps({**values, **changed}))
        command = ["export", "-m", "ck", "-o", "out", "--no-parity"]
        attack(f"values in {file}", folder, *command, seconds=120)
        shutil.rmtree(folder)

    run(changes([*values, *names]), drawn, check, shrink=False)


@examples(5, 60)
def test_an_adapter_config_with_other_values(
    drawn: int, attack: Attack, lora: Path, slots: Path, tmp_path: Path
) -> None:
    values = json.loads((lora / "adapter_config.json").read_text())
    shutil.copytree(lora, tmp_path / "lora")

    def check(changed: dict[str, Any]) -> None:
        (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps({**values, **changed}))
        attack("values in adapter_config.json", tmp_path, "lora", "check", "lora", "-m", slots)

    run(changes([*values]), drawn, check, shrink=False)


# -- prompts, ids and settings, in this process


@pytest.fixture(scope="module")
def of_demo(demos: Callable[[str], Package]) -> Callable[[str], Generator]:
    loaded: dict[str, Generator] = {}
    return lambda name: loaded.setdefault(name, Generator(demos(name)))


@examples(40, 1000)
@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.filterwarnings("ignore:Token indices sequence length is longer")
def test_any_text_is_a_prompt(name: str, drawn: int, of_demo: Callable[[str], Generator]) -> None:
    generator = of_demo(name)

    def check(prompts: list[str]) -> None:
        answered(lambda: generator.generate(prompts, max_new_tokens=2, num_beams=2))

    run(st.lists(TEXTS, max_size=3), drawn, check)


@examples(60, 1000)
def test_any_value_is_a_prompt(drawn: int, of_demo: Callable[[str], Generator]) -> None:
    generator = of_demo("gpt2")
    ids = st.lists(st.integers(-3, 1200) | st.integers() | VALUES, max_size=6)

    def check(prompts: Any) -> None:
        answered(lambda: generator.generate(prompts, max_new_tokens=2, num_beams=2))

    run(st.lists(ids | VALUES, max_size=3) | VALUES, drawn, check)


@examples(150, 3000)
def test_any_value_is_a_setting(drawn: int, generators: Callable[[str], Generator]) -> None:
    def check(changed: dict[str, Any]) -> None:
        given = {"max_new_tokens": 2, "num_beams": 2, **changed}
        answered(lambda: generators("gpt2").generate([[5, 6, 7]], **given))

    run(changes(SETTING_NAMES), drawn, check)


@examples(60, 1000)
def test_any_value_is_a_catalogue(drawn: int, generators: Callable[[str], Generator]) -> None:
    entries = st.lists(st.lists(st.integers(0, 95) | SCALARS, max_size=4) | VALUES, max_size=4)

    def check(catalogue: Any) -> None:
        answered(lambda: generators("gpt2").generate([[5]], catalogue=catalogue, max_new_tokens=2))

    run(entries | VALUES, drawn, check)


# -- tokenizer files


@examples(12, 300)
@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.filterwarnings("ignore")
def test_a_tokenizer_with_other_values(
    file: str, drawn: int, demos: Callable[[str], Package], tmp_path: Path
) -> None:
    """A text is answered or refused; ids need no tokenizer."""
    folder = Path(shutil.copytree(demos("phi3").folder, tmp_path / "package"))
    values = json.loads((folder / file).read_text(encoding="utf-8"))
    generator = Generator(folder)
    session = generator.session

    def check(changed: dict[str, Any]) -> None:
        (folder / file).write_text(json.dumps({**values, **changed}), encoding="utf-8")
        other = Generator(folder, verify=False, session=session)
        answered(lambda: other.generate(["what is it"], max_new_tokens=2, num_beams=2))
        assert other.generate([[5, 9]], max_new_tokens=2, num_beams=2)[0][0].token_ids

    run(changes([*values]), drawn, check)
