"""Dead ends that people reach with odd checkpoints: what the message says is typed, and works."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file
from support.peft_folders import save_lora

from beamgen.cli import main


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """``run("beamgen list")`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda line: CliRunner().invoke(main, shlex.split(line)[1:])


@pytest.fixture
def copy(checkpoints: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoints("gpt2"), tmp_path / "copy"))


def _edit(path: Path, **changes: object) -> None:
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: v for name, v in values.items() if v is not None}))


def _fix(result: Result) -> str:
    """The cure of the two lines that an error ends in."""
    assert result.exit_code in (1, 2), result.output
    cause, cure = result.stderr.strip().splitlines()[-2:]
    assert cause.startswith("error: ")
    assert "internal error" not in cause
    return cure.removeprefix("  fix: ")


def _typed(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    assert found is not None, text
    return found[0]


def _works(result: Result) -> None:
    assert result.exit_code == 0, result.output


EXPORT = "beamgen export -m copy -o package --no-parity"


def test_an_architecture_is_named(run: Callable[..., Result], copy: Path) -> None:
    _edit(copy / "config.json", model_type=None, architectures=None)
    option = _typed(_fix(run(EXPORT)), r"--model-class NAME")
    listed = json.loads(run("beamgen list --json").stdout)
    assert any(adapter["name"] == "gpt2" for adapter in listed["adapters"])
    _works(run(f"{EXPORT} {option.replace('NAME', 'gpt2')}"))


def test_a_vocabulary_is_corrected(run: Callable[..., Result], copy: Path) -> None:
    _edit(copy / "config.json", vocab_size=500)
    size = _typed(_fix(run(EXPORT)), r"(?<=config.json to )\d+")
    _edit(copy / "config.json", vocab_size=int(size))
    _works(run(EXPORT))


def test_a_quantized_checkpoint_is_left_for_its_base(
    run: Callable[..., Result], copy: Path, checkpoints: Callable[[str], Path]
) -> None:
    _edit(copy / "config.json", quantization_config={"quant_method": "awq", "bits": 4})
    option = _typed(_fix(run(EXPORT)), r"--precision int4")
    _works(run(f"beamgen export -m {checkpoints('gpt2')} -o package --no-parity {option}"))


def test_settings_are_set_as_it_says(run: Callable[..., Result], copy: Path) -> None:
    limit = _typed(_fix(run(f"{EXPORT} --max-new-tokens 256")), r"--max-new-tokens \d+")
    _works(run(f"{EXPORT} {limit}"))
    far = f"{EXPORT} --force --max-new-tokens 1000000000000"
    most = _typed(_fix(run(far)), r"(?<=set max_new_tokens to at most )\d+")
    nearer = _fix(run(far.replace("1000000000000", most)))
    _works(run(f"{EXPORT} --force {_typed(nearer, r'--max-new-tokens [0-9]+')}"))

    generate = "beamgen generate -m package --ids '5 6' --max-new-tokens 3"
    option = _typed(_fix(run(f"{generate} --temperature 0.5")), r"--do-sample")
    _works(run(f"{generate} --temperature 0.5 {option}"))
    _works(run(f"{generate} --temperature 0"))


@pytest.mark.parametrize("command", ["parity -m package --checkpoint lora", "export -m both"])
def test_a_lora_in_a_checkpoints_place_is_exported_as_one(
    command: str, run: Callable[..., Result], copy: Path, tmp_path: Path
) -> None:
    save_lora(copy, tmp_path / "lora")
    shutil.copytree(copy, tmp_path / "both")
    for path in (tmp_path / "lora").iterdir():
        shutil.copy(path, tmp_path / "both")
    _works(run(EXPORT))
    cure = _fix(run(f"beamgen {command}"))
    _works(run(f"{_typed(cure, r'beamgen export --lora .*')} -o merged --no-parity"))
    if "move adapter_config.json" in cure:
        (tmp_path / "both" / "adapter_config.json").unlink()
        _works(run("beamgen export -m both -o whole --no-parity"))


def test_a_lora_that_names_no_base_is_given_one(
    run: Callable[..., Result], copy: Path, tmp_path: Path
) -> None:
    save_lora(copy, tmp_path / "my lora")
    _edit(tmp_path / "my lora" / "adapter_config.json", base_model_name_or_path=None)
    for line in ("beamgen export -m 'my lora'", "beamgen export --lora 'my lora'"):
        options = _typed(_fix(run(line)), r"--model BASE .*").replace("BASE", "copy")
        _works(run(f"beamgen export {options} -o package --force --no-parity"))


def test_slots_for_a_lora_are_made_as_lora_check_says(
    run: Callable[..., Result], copy: Path, tmp_path: Path
) -> None:
    """Also of one on the head, which all-linear leaves out."""
    save_lora(copy, tmp_path / "lora")
    save_lora(copy, tmp_path / "head", target_modules=["c_attn", "lm_head"])
    _works(run(f"{EXPORT} --lora-slots c_attn"))
    for lora in ("lora", "head"):
        checked = run(f"beamgen lora check {lora} -m package")
        assert checked.exit_code == 3
        option = _typed(checked.stdout, r"--lora-slots \S+")
        _works(run(f"beamgen export -m copy -o {lora}-onnx --no-parity {option}"))
        _works(run(f"beamgen lora check {lora} -m {lora}-onnx"))


def test_what_slots_cannot_take_is_merged(
    run: Callable[..., Result], copy: Path, tmp_path: Path
) -> None:
    """A trained head; ``lora check`` says it before a package is written."""
    save_lora(copy, tmp_path / "lora", modules_to_save=["lm_head"])
    _works(run(f"{EXPORT} --lora-slots"))
    cure = _fix(run("beamgen lora check lora -m package"))
    _works(run(f"{_typed(cure, r'beamgen export .*')} -o merged --no-parity"))


def test_plain_weights_under_a_quantization_field_are_read_without_it(
    run: Callable[..., Result], copy: Path
) -> None:
    _edit(copy / "config.json", quantization_config={"load_in_8bit": True})
    assert "take quantization_config out of config.json" in _fix(run(EXPORT))
    _edit(copy / "config.json", quantization_config=None)
    _works(run(EXPORT))


def test_a_head_alone_is_completed(
    run: Callable[..., Result], copy: Path, checkpoints: Callable[[str], Path]
) -> None:
    path = copy / "model.safetensors"
    save_file({"lm_head.weight": load_file(path)["transformer.wte.weight"]}, path)
    assert "the folder with all weights" in _fix(run(EXPORT))
    _works(run(EXPORT.replace("copy", str(checkpoints("gpt2")))))


# ---------------------------------------------------------------- what click cannot read

MISUSES = {
    "exprot -m copy": ("No such command 'exprot'", "export -m copy"),
    "export --modle copy": ("No such option '--modle'", "export --model copy"),
    "lora chek lora -m package": ("No such command 'chek'", "lora check --help"),
    "generate -m package --ids 5 --min-p 0.1": ("No such option '--min-p'", None),
    "export -m copy --num-beams many": ("'many' is not a valid integer", "export --help"),
    "export -m copy --search both": ("'both' is not one of 'loop', 'contrib'", "export --help"),
    "generate --ids 5": ("Missing option '-m' / '--model'", "generate --help"),
    "quantize": ("No packages were named, pass one with -m", "quantize --help"),
    "quantize one -m two": ("2 packages were named", "quantize --help"),
    "export one": ("Got unexpected extra argument (one)", "export -m one"),
    "generate -m one 'a bird'": ("argument (a bird)", "generate -m one -p 'a bird'"),
    "export -m one --num_beams 2": ("option '--num_beams'", "export -m one --num-beams 2"),
    "export -m one --dtype fp16": ("option '--dtype'", "export -m one --precision fp16"),
    "lora convert": ("Missing argument 'PEFT_DIR|FILE'", "lora convert --help"),
    "--nonsense": ("No such option '--nonsense'", "--help"),
}


@pytest.mark.parametrize("typed", MISUSES)
def test_what_no_command_takes_has_a_cure_that_can_be_typed(
    typed: str, run: Callable[..., Result], copy: Path
) -> None:
    cause, right = MISUSES[typed]
    result = run(f"beamgen {typed}")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 2
    cure = _fix(result)
    assert cause in result.stderr.splitlines()[0]
    _works(run(_typed(cure, r"beamgen .*--help")))
    meant = re.search(r"did you mean ([^?]+)\?", cure)
    if meant and right:
        assert meant[1] in right
        if "copy" in right:
            _works(run(f"beamgen {right} -o package --no-parity"))
    elif right is None:
        assert "--set min_p=VALUE" in cure


def test_a_package_may_be_named_either_way(run: Callable[..., Result], copy: Path) -> None:
    _works(run(EXPORT))
    for line, name in (("quantize package", "a"), ("quantize -m package", "b")):
        _works(run(f"beamgen {line} --precision fp16 --no-parity -o {name}"))
