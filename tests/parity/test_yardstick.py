"""What a package is compared with is the model's meaning; and nothing is never exact."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from support import numpy_falcon, numpy_gpt2
from support.odd_checkpoints import (
    PROMPT,
    edit_config,
    edit_tensors,
    file_greedy,
    numpy_greedy,
)
from transformers import AutoModelForCausalLM

from beamgen import (
    BeamgenError,
    Generator,
    Package,
    check_parity,
    export,
    find_adapter,
    open_checkpoint,
)
from beamgen.checkpoint import load
from beamgen.cli import main
from beamgen.parity.named_grids import GRIDS
from beamgen.parity.report import Verdict
from beamgen.settings.prompts import left_pad
from beamgen.settings.rules import installed_rules
from beamgen.testing import tiny_model

EMBEDDING = "transformer.wte.weight"
FLAGS: list[dict[str, Any]] = [
    {"scale_attn_by_inverse_layer_idx": True},
    {"scale_attn_weights": False},
    {"scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True},
]
UPCAST = {"reorder_and_upcast_attn": True}
#: The attention that transformers takes by default, where it forgets the flags.
FORGETFUL = "sdpa" if installed_rules().release == "4.57" else None


@pytest.fixture
def gpt2(checkpoints: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoints("gpt2"), tmp_path / "gpt2"))


@pytest.mark.parametrize(
    ("flags", "backend"),
    [
        (FLAGS[0], "loop"),
        (FLAGS[1], "contrib"),
        *(
            pytest.param(flags, backend, marks=pytest.mark.slow)
            for flags in (*FLAGS, {**FLAGS[0], **UPCAST})
            for backend in ("loop", "contrib")
            if (flags, backend) not in ((FLAGS[0], "loop"), (FLAGS[1], "contrib"))
        ),
    ],
    ids=str,
)
def test_settings_that_the_default_attention_ignores_are_followed(
    gpt2: Path, tmp_path: Path, flags: dict[str, Any], backend: str
) -> None:
    plain = numpy_greedy(numpy_gpt2, gpt2, 12)
    edit_config(gpt2, **flags)
    right = numpy_greedy(numpy_gpt2, gpt2, 12)
    assert right != plain, "the flags matter"
    settings = {"max_new_tokens": 12, "num_beams": 1}
    done = export(gpt2, tmp_path / "package", backend=backend, settings=settings)
    assert file_greedy(done.package, 12) == right
    assert done.parity is not None
    if backend == "loop":
        assert done.parity.verdict is Verdict.EXACT
    assert done.parity.exit_code == 0
    assert done.parity.forgetful_default == FORGETFUL
    assert done.package.manifest.parity is not None
    assert done.package.manifest.parity.get("attention") == ("eager" if FORGETFUL else None)


def test_upcast_attention_is_the_same_arithmetic(gpt2: Path, tmp_path: Path) -> None:
    edit_config(gpt2, **UPCAST)
    done = export(gpt2, tmp_path / "package")
    assert file_greedy(done.package, 12) == numpy_greedy(numpy_gpt2, gpt2, 12)
    assert done.parity is not None
    assert done.parity.forgetful_default is None


@pytest.mark.transformers_4
def test_the_command_says_what_was_compared_with(gpt2: Path, tmp_path: Path) -> None:
    edit_config(gpt2, scale_attn_weights=False)
    run = CliRunner().invoke(main, ["export", "-m", str(gpt2), "-o", str(tmp_path / "package")])
    assert run.exit_code == 0
    assert "compared with eager attention: sdpa" in run.output


def _first_logits(folder: Path, attention: str) -> torch.Tensor:
    """What HF's model makes of the prompt, with one of its attentions."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention)
    with torch.no_grad():
        return model(torch.tensor([PROMPT])).logits


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_alibi_of_falcon_is_added_once(tmp_path: Path) -> None:
    """As the models were trained; transformers' ``eager`` adds it twice."""
    config = find_adapter("falcon").tiny_config()
    config.alibi, config.bias = True, True
    config.multi_query = config.parallel_attn = False
    model = tiny_model(config)
    dice = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=dice))
    model.save_pretrained(tmp_path / "falcon")
    right = numpy_greedy(numpy_falcon, tmp_path / "falcon", 12)
    package = export(
        tmp_path / "falcon", tmp_path / "package", settings={"num_beams": 1, "max_new_tokens": 12}
    )
    assert file_greedy(package.package, 12) == right
    assert package.parity is not None
    assert package.parity.verdict is Verdict.EXACT
    assert package.parity.forgetful_default is None
    once, twice = (_first_logits(tmp_path / "falcon", name) for name in ("sdpa", "eager"))
    assert (twice - once).abs().max() > 0.01


@pytest.fixture
def nan_package(
    gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float], Package]:
    """Of an embedding with a value that is none, which nobody looked at."""
    for check in ("check_tensors", "check_decodes"):
        monkeypatch.setattr(load, check, lambda *_: None)

    def make(value: float) -> Package:
        broken = load_file(gpt2 / "model.safetensors")[EMBEDDING]
        broken[3] = value
        edit_tensors(gpt2, {EMBEDDING: broken})
        return export(gpt2, tmp_path / "package", parity=False).package

    return make


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_comparison_of_nothing_is_not_exact(
    nan_package: Callable[[float], Package], gpt2: Path, value: float
) -> None:
    report = check_parity(nan_package(value), open_checkpoint(gpt2))
    assert report.verdict is Verdict.EMPTY
    assert report.exit_code == 3
    assert report.count(Verdict.EXACT) == 0
    assert report.to_json()["nothing compared"] == 12


def test_a_grid_in_which_every_token_is_banned_compares_nothing(
    packages: Callable[[str], Package], checkpoints: Callable[[str], Path]
) -> None:
    def banned(package: Package, likely: Any, seed: int) -> Any:
        everything = {"suppress_tokens": tuple(range(96))}
        return [
            replace(case, config=case.config.with_overrides(everything))
            for case in GRIDS["quick"](package, likely, seed)
        ]

    report = check_parity(packages("gpt2"), open_checkpoint(checkpoints("gpt2")), grid=banned)
    assert report.verdict is Verdict.EMPTY


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("sampled", [{}, {"do_sample": True, "seed": 1}])
def test_nothing_is_drawn_from_what_is_no_number(
    nan_package: Callable[[float], Package], value: float, beams: int, sampled: dict[str, Any]
) -> None:
    generator = Generator(nan_package(value))
    settings = {"num_beams": beams, "max_new_tokens": 6, **sampled}
    config = generator.search.with_overrides(settings)
    output = generator.search_ids(*left_pad([PROMPT], 0), config)
    assert not output.finish_reasons.any()
    assert not (np.isfinite(output.sequences_scores) & (output.sequences_scores > -5e8)).any()
    with pytest.raises(BeamgenError, match="gave scores that are no numbers"):
        generator.generate([PROMPT], **settings)


def test_settings_that_ban_everything_are_no_error(generators: Callable[[str], Generator]) -> None:
    assert generators("gpt2").generate([PROMPT], suppress_tokens=list(range(96))) == [[]]


@pytest.mark.parametrize("command", ["explain", "inspect", "generate"])
def test_json_is_json(
    command: str, packages: Callable[[str], Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a search whose scores hold an infinity: EOS is banned, and nothing else is left."""
    prompt = [] if command == "inspect" else ["--ids", "5 9 7"]
    settings = [] if command == "inspect" else ["--max-new-tokens", "4", "--min-new-tokens", "3"]
    run = CliRunner().invoke(
        main, [command, "-m", str(packages("gpt2").folder), "--json", *prompt, *settings]
    )
    assert run.exit_code == 0, run.output

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(run.output, parse_constant=refuse)


def test_no_number_becomes_null(capsys: pytest.CaptureFixture[str]) -> None:
    from beamgen.cli._print import print_json

    print_json({"a": [float("nan"), (1.5, float("-inf"))], "b": {"c": float("inf")}})
    assert json.loads(capsys.readouterr().out) == {"a": [None, [1.5, None]], "b": {"c": None}}
