from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from beamgen import Generator, Package, open_package
from beamgen.cli import main
from beamgen.settings.rules import installed_rules


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """``run("list", "--json")`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, **options: CliRunner().invoke(
        main, [str(argument) for argument in arguments], **options
    )


def _two_lines(result: Result) -> str:
    """An error: one line of cause, one of cure, exit code 1, no traceback."""
    assert result.exit_code == 1
    lines = result.stderr.strip().splitlines()[-2:]
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("  fix: ")
    assert "Traceback" not in result.stderr
    return lines[0]


def test_a_misspelt_command_gets_a_suggestion(run: Callable[..., Result]) -> None:
    result = run("exprot")
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert lines == [
        "error: No such command 'exprot'",
        "  fix: did you mean export? see beamgen --help",
    ]


def test_the_main_job(run: Callable[..., Result], tmp_path: Path) -> None:
    """As the README has it."""
    result = run("export", "--model-class", "BioGptModel", "--num-beams", "5")
    assert result.exit_code == 0, result.stderr
    assert "demo checkpoint of BioGptModel" in result.stdout
    assert "parity with transformers generate: exact (12 cases: 12 exact" in result.stdout
    assert open_package(tmp_path / "biogpt-onnx").manifest.parity["verdict"] == "exact"
    assert [path.name for path in tmp_path.iterdir()] == ["biogpt-onnx"]

    result = run("generate", "-m", "biogpt-onnx", "-p", "aspirin is")
    (best,) = Generator("biogpt-onnx").generate("aspirin is")
    assert result.stdout == best[0].text + "\n"
    assert result.stdout.startswith("aspirin is ")


def test_export_as_json_is_the_manifest(
    run: Callable[..., Result], checkpoints: Callable[[str], Path]
) -> None:
    result = run(
        "export", "-m", checkpoints("gpt2"), "-o", "out", "--no-parity", "--json",
        "--eos-token-id", "2", "--eos-token-id", "7", "--early-stopping", "never",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    values = json.loads(result.stdout)
    assert values["search"]["eos_token_id"] == [2, 7]
    assert values["search"]["early_stopping"] == "never"
    assert values["parity"] is None


def test_half_precision_and_a_missing_tokenizer_are_said(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    from beamgen import find_adapter
    from beamgen.testing import tiny_model

    tiny_model(find_adapter("gpt2").tiny_config()).half().save_pretrained(tmp_path / "half")
    result = run("export", "-m", "half", "--no-parity")
    assert "the checkpoint's float16 weights became float32" in result.stdout
    assert "has no tokenizer: generate takes --ids" in result.stdout
    assert (tmp_path / "half-onnx" / "model.onnx").is_file()


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["export"], "neither a checkpoint nor a model class"),
        (["export", "--model-class", "BioGptMdel"], "no adapter for 'BioGptMdel'"),
        (["export", "-m", "./nothing"], "there is no folder ./nothing"),
        (["export", "-m", "someone/somewhere"], "the hub gave no such checkpoint"),
        (["export", "--model-class", "gpt2", "--num-beams", "0"], "num_beams must be"),
        (
            ["export", "--model-class", "gpt2", "--set", "max_time=2"],
            "max_time=2 (a file has no clock)",
        ),
        (["export", "--model-class", "gpt2", "--require", "sed"], "no parameter called 'sed'"),
        (
            ["export", "--model-class", "gpt2", "--do-sample", "--temperature", "0"],
            "temperature must be",
        ),
        (["export", "--model-class", "gpt2", "--do-sample", "--top-p", "0"], "top_p must be"),
        (
            ["export", "--model-class", "gpt2", "--set", "bad_words_ids=[[5000]]"],
            "bad_words_ids 5000",
        ),
        (["export", "--model-class", "gpt2", "--set", "nonsense"], "is no NAME=VALUE"),
        (["export", "--model-class", "gpt2", "--set", "nonsense=1"], "setting called 'nonsense'"),
        (["export", "--model-class", "gpt2", "--eos-token-id", "5000"], "outside the vocabulary"),
        (["generate", "-m", "nothing", "-p", "x"], "is not a beamgen package"),
        (["parity", "-m", "nothing"], "is not a beamgen package"),
    ],
)
def test_errors_are_two_lines_and_leave_nothing(
    arguments: list[str], cause: str, run: Callable[..., Result], tmp_path: Path
) -> None:
    assert cause in _two_lines(run(*arguments))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a\rb", "a\nb", "a\x1b[31mb", "a\u2028b", "a\x9b1mb"])
def test_an_error_is_two_lines_whatever_it_quotes(name: str, run: Callable[..., Result]) -> None:
    result = run("inspect", "-m", name)
    assert "there is no a\\" in _two_lines(result)
    assert name not in result.stderr
    assert "é" in run("inspect", "-m", "é").stderr


def test_debug_shows_the_traceback(run: Callable[..., Result]) -> None:
    assert "Traceback" in run("export", "-m", "./nothing", "--debug").stderr


def test_an_unsupported_field_of_the_checkpoint_is_named(
    run: Callable[..., Result], checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoints("gpt2"), tmp_path / "sampler"))
    settings = {"eos_token_id": 2, "pad_token_id": 0, "guidance_scale": 1.5, "top_p": 0.9}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    assert "guidance_scale=1.5" in _two_lines(run("export", "-m", "sampler"))
    result = run("export", "-m", "sampler", "--no-parity", "--set", "guidance_scale=default")
    assert result.exit_code == 0, result.stderr


def test_what_a_checkpoint_spells_out_counts_even_as_hfs_default(
    run: Callable[..., Result], checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoints("gpt2"), tmp_path / "plain"))
    settings = {"eos_token_id": 2, "pad_token_id": 0, "num_beams": 1, "max_length": 20}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    assert run("export", "-m", "plain", "--no-parity").exit_code == 0
    search = open_package(tmp_path / "plain-onnx").manifest.search
    # a max_length of 20 in a file was HF's default to HF, which counts new tokens
    lengths = (20, None) if installed_rules().twenty_counts_prompt else (None, 20)
    assert (search.num_beams, search.max_length, search.max_new_tokens) == (1, *lengths)
    assert run("export", "-m", "plain", "--no-parity", "--force", "--num-beams", "3").exit_code == 0
    assert open_package(tmp_path / "plain-onnx").manifest.search.num_beams == 3


def test_parity_refuses_what_cannot_be_compared(
    run: Callable[..., Result],
    packages: Callable[[str], Package],
    checkpoints: Callable[[str], Path],
) -> None:
    result = run("parity", "-m", packages("gpt2").folder, "--checkpoint", checkpoints("phi3"))
    assert "is a phi3 of 96 tokens, but the package was made of a gpt2" in _two_lines(result)


def test_prompts_from_options_files_and_pipes_agree(
    run: Callable[..., Result], packages: Callable[[str], Package], tmp_path: Path
) -> None:
    run("export", "--model-class", "gpt2", "-o", "gpt2", "--no-parity")
    (tmp_path / "prompts.txt").write_text("to shout:\n\nbread:\n")
    given = run("generate", "-m", "gpt2", "-p", "to shout:", "-p", "bread:")
    assert given.exit_code == 0, given.stderr
    assert len(given.stdout.splitlines()) == 2
    assert run("generate", "-m", "gpt2", "-f", "prompts.txt").stdout == given.stdout
    piped = run("generate", "-m", "gpt2", input="to shout:\nbread:\n")
    assert piped.stdout == given.stdout
    single = run("generate", "-m", "gpt2", "-f", "prompts.txt", "--batch-size", "1")
    assert single.stdout == given.stdout
    (row,) = run("generate", "-m", "gpt2", "-p", "bread:", "--json").stdout.splitlines()
    values = json.loads(row)
    assert values["prompt"] == "bread:"
    assert values["hypotheses"][0]["text"] == given.stdout.splitlines()[1]
    assert "no prompt was given" in _two_lines(run("generate", "-m", "gpt2", input=""))
    assert "no chat template" in _two_lines(run("generate", "-m", "gpt2", "--chat", "-p", "x"))


def test_chat_prints_the_reply(run: Callable[..., Result]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from beamgen import find_adapter

    run("export", "--model-class", "phi3", "-o", "phi3", "--no-parity")
    result = run("generate", "-m", "phi3", "--chat", "-p", "What is a doctor?")
    demo = find_adapter("phi3").demo
    tokenizer = AutoTokenizer.from_pretrained(demo)
    messages = [{"role": "user", "content": "What is a doctor?"}]
    inputs = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    model = AutoModelForCausalLM.from_pretrained(demo).eval()
    output = model.generate(**inputs, num_beams=5, max_new_tokens=64)
    reply = output[0, inputs["input_ids"].shape[1] :]
    assert result.stdout.strip() == tokenizer.decode(reply, skip_special_tokens=True).strip()


def test_token_ids_in_and_out(
    run: Callable[..., Result], packages: Callable[[str], Package]
) -> None:
    folder = packages("gpt2").folder
    result = run("generate", "-m", folder, "--ids", "5 9 7", "--max-new-tokens", "3")
    (best,) = Generator(folder).generate([5, 9, 7], max_new_tokens=3)
    assert result.stdout.split() == [str(t) for t in [5, 9, 7, *best[0].token_ids]]
    assert "are not whole numbers" in _two_lines(run("generate", "-m", folder, "--ids", "a b"))
    assert "no tokenizer" in _two_lines(run("generate", "-m", folder, "-p", "text"))
    many = run("generate", "-m", folder, "--ids", "5 9", "--num-return-sequences", "3")
    scores = [float(line.split()[0]) for line in many.stdout.splitlines()]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.slow
def test_parity_finds_a_checkpoint_that_is_another(
    run: Callable[..., Result],
    packages: Callable[[str], Package],
    checkpoints: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    from beamgen import find_adapter
    from beamgen.testing import tiny_model

    shutil.copytree(packages("gpt2").folder, tmp_path / "package")
    result = run("parity", "-m", "package")
    assert result.exit_code == 0, result.stderr
    assert open_package(tmp_path / "package").manifest.parity["verdict"] == "exact"

    tiny_model(find_adapter("gpt2").tiny_config(), seed=1).save_pretrained(tmp_path / "other")
    result = run("parity", "-m", "package", "--checkpoint", "other", "--json")
    assert result.exit_code == 3
    values = json.loads(result.stdout)
    assert values["verdict"] == "diverged"
    assert values["partings"][0]["step"] == 1
    stamped = open_package(tmp_path / "package").manifest.parity
    assert stamped["verdict"] == "exact", "another checkpoint says nothing of this one"
    assert "diverged at step 1" in run("parity", "-m", "package", "--checkpoint", "other").stdout


def test_parity_without_its_checkpoint(
    run: Callable[..., Result], packages: Callable[[str], Package], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(packages("gpt2").folder, tmp_path / "package"))
    values = json.loads((folder / "beamgen.json").read_text())
    values["source"]["model"] = str(tmp_path / "moved-away")
    (folder / "beamgen.json").write_text(json.dumps(values))
    result = run("parity", "-m", "package")
    assert "the checkpoint is no longer at" in _two_lines(result)
    assert "--checkpoint" in result.stderr


def test_an_edited_package_is_refused_unless_told(
    run: Callable[..., Result], packages: Callable[[str], Package], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(packages("gpt2").folder, tmp_path / "package"))
    with (folder / "config.json").open("a") as stream:
        stream.write("\n")
    arguments = ["generate", "-m", "package", "--ids", "5 9 7", "--max-new-tokens", "3"]
    assert "damaged or was edited" in _two_lines(run(*arguments))
    assert run(*arguments, "--no-verify").exit_code == 0
