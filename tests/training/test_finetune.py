"""Fine-tuning: a LoRA that learned, the same bytes for the same seed, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from click.testing import CliRunner, Result
from support.trainings import EXAMPLES, tokenized, train, two_lines, weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from beamgen import BeamgenError, FinetuneResult, find_adapter, finetune
from beamgen.cli import main
from beamgen.training.token_ids import IGNORE_INDEX

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> FinetuneResult:
    """Thirty steps on the drugs; treat it as read-only."""
    return train(tmp_path_factory.mktemp("trained") / "drugs")


def test_the_loss_is_that_of_the_completions(trained: FinetuneResult) -> None:
    """Computed anew, row by row, with nothing of the Trainer's."""
    base = AutoModelForCausalLM.from_pretrained(find_adapter("biogpt").demo).eval()
    batches = [tokenized("biogpt", EXAMPLES / "drugs-eval.jsonl")[i : i + 8] for i in (0, 8)]

    def mean_loss(model: Any) -> float:
        total = 0.0
        for batch in batches:
            log_probs = []
            for row in batch:
                ids = torch.tensor([row.input_ids])
                with torch.no_grad():
                    scores = model(ids).logits[0].log_softmax(-1)
                log_probs += [
                    scores[at - 1, token].item()
                    for at, token in enumerate(row.labels)
                    if token != IGNORE_INDEX
                ]
            total -= len(batch) * sum(log_probs) / len(log_probs)
        return total / 15

    assert trained.eval_loss_before == pytest.approx(mean_loss(base), abs=1e-4)
    lora = peft.PeftModel.from_pretrained(base, trained.folder).eval()
    assert trained.eval_loss == pytest.approx(mean_loss(lora), abs=1e-4)


def test_a_peft_folder_that_learned(trained: FinetuneResult) -> None:
    assert trained.eval_loss_before > 2.5
    assert trained.eval_loss < 1.0
    assert (trained.steps, trained.method, trained.base) == (30, "lora", "demo:biogpt")
    folder = trained.folder
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "finetune.json",
    }  # fmt: skip
    assert [path.name for path in folder.parent.iterdir()] == ["drugs"], "nothing is left beside it"
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "demo:biogpt"
    assert config["task_type"] == "CAUSAL_LM"
    record = json.loads((folder / "finetune.json").read_text())
    data = (EXAMPLES / "drugs.jsonl").read_bytes()
    assert record["data"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert record["eval_loss"] == trained.eval_loss
    assert (record["seed"], record["rank"], record["learning_rate"]) == (0, 8, 5e-3)
    assert record["versions"]["peft"] == peft.__version__


def test_generation_says_what_was_learned_and_stops(trained: FinetuneResult) -> None:
    demo = find_adapter("biogpt").demo
    tokenizer = AutoTokenizer.from_pretrained(demo)
    model = AutoModelForCausalLM.from_pretrained(demo).eval()
    prompt = tokenizer("lorazepam is", return_tensors="pt")
    learned = tokenizer("lorazepam is a drug that")["input_ids"]

    def search(searched: Any) -> list[int]:
        ids: list[int] = searched.generate(**prompt, num_beams=5, max_new_tokens=20)[0].tolist()
        return ids

    assert search(model)[: len(learned)] != learned
    after = search(peft.PeftModel.from_pretrained(model, trained.folder).eval())
    assert after[: len(learned)] == learned
    assert after[-1] == tokenizer.eos_token_id


def test_the_same_seed_gives_the_same_bytes(trained: FinetuneResult, tmp_path: Path) -> None:
    torch.manual_seed(77)  # whatever the process drew before
    before = torch.random.get_rng_state()
    again = train(tmp_path / "again")
    assert torch.equal(torch.random.get_rng_state(), before), "nor does it draw from the process"
    assert weights(again.folder) == weights(trained.folder)
    assert again.eval_loss == trained.eval_loss
    for name in ("adapter_config.json", "finetune.json"):
        assert (again.folder / name).read_text() == (trained.folder / name).read_text()
    assert weights(train(tmp_path / "other", seed=1).folder) != weights(trained.folder)
    unmeasured = train(tmp_path / "unmeasured", eval_data=None)
    assert weights(unmeasured.folder) == weights(trained.folder), "measuring changes nothing"


def test_a_training_that_diverges_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(BeamgenError, match="the training diverged") as caught:
        train(tmp_path / "lost", learning_rate=1e30, max_steps=5)
    assert "--learning-rate" in caught.value.cure
    assert not (tmp_path / "lost").exists()


def test_without_evaluation_rows_there_is_no_evaluation(tmp_path: Path) -> None:
    result = train(
        tmp_path / "out", eval_data=None, max_steps=None, num_train_epochs=1, batch_size=31
    )
    assert result.steps == 3, "93 rows"
    assert result.eval_loss_before is result.eval_loss is None


def _interrupt_at(step: int) -> Callable[[str], None]:
    def progress(line: str) -> None:
        if line.startswith(f"training: step {step} "):
            raise KeyboardInterrupt

    return progress


def test_resumed_equals_uninterrupted(trained: FinetuneResult, tmp_path: Path) -> None:
    output, work = tmp_path / "drugs", tmp_path / ".drugs.training"
    with pytest.raises(KeyboardInterrupt):
        train(output, progress=_interrupt_at(25))
    assert not output.exists()
    assert [path.name for path in work.glob("checkpoint-*")] == ["checkpoint-20"]

    with pytest.raises(BeamgenError) as caught:
        train(output)
    assert "is left from an interrupted training" in two_lines(caught)
    with pytest.raises(BeamgenError) as caught:
        train(output, resume=True, learning_rate=1e-3, data=EXAMPLES / "animals.jsonl")
    cause = two_lines(caught)
    assert "learning_rate was 0.005, now 0.001" in cause
    assert "data was drugs.jsonl (SHA-256" in cause
    assert "rank" not in cause

    (work / "checkpoint-30").mkdir()  # killed while it was saved
    lines: list[str] = []
    result = train(output, resume=True, progress=lines.append)
    steps = [line.split()[2] for line in lines if line.startswith("training: step")]
    assert steps == [str(step) for step in range(21, 31)]
    assert weights(output) == weights(trained.folder)
    assert result.train_loss == trained.train_loss, "over all steps"
    assert result.eval_loss_before == trained.eval_loss_before
    assert [path.name for path in tmp_path.iterdir()] == ["drugs"]


def test_an_interruption_before_the_first_save_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "deep" / "out", progress=_interrupt_at(2))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BeamgenError) as caught:
        train(tmp_path / "out", resume=True)
    assert "there is nothing to resume" in two_lines(caught)


def test_force_begins_anew_and_replaces_in_one_rename(
    trained: FinetuneResult, tmp_path: Path
) -> None:
    output = Path(shutil.copytree(trained.folder, tmp_path / "out"))
    with pytest.raises(KeyboardInterrupt):
        train(output, force=True, progress=_interrupt_at(11))
    assert weights(output) == weights(trained.folder), "the finished one stays until then"
    train(output, force=True, max_steps=1)
    assert weights(output) != weights(trained.folder)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_outputs_that_are_not_replaced(trained: FinetuneResult, tmp_path: Path) -> None:
    with pytest.raises(BeamgenError) as caught:
        train(trained.folder)
    assert two_lines(caught).endswith("drugs exists")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("notes")
    with pytest.raises(BeamgenError) as caught:
        train(tmp_path / "mine", force=True)
    assert "is not a PEFT folder, so it will not be replaced" in two_lines(caught)
    (tmp_path / "link").symlink_to(trained.folder)
    with pytest.raises(BeamgenError) as caught:
        train(tmp_path / "link", force=True)
    assert "is a symbolic link" in two_lines(caught)


def test_a_folder_is_named_as_the_base_by_its_full_path(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(find_adapter("phi3").demo, tmp_path / "phi3"))
    data = EXAMPLES / "animals-chat.jsonl"
    result = finetune(folder, data, tmp_path / "out", max_steps=1)
    config = peft.PeftConfig.from_pretrained(result.folder)
    assert config.base_model_name_or_path == result.base == str(folder)
    peft.AutoPeftModelForCausalLM.from_pretrained(result.folder)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, [str(part) for part in arguments])


def test_the_command(run: Callable[..., Result], tmp_path: Path) -> None:
    drugs = ("--data", EXAMPLES / "drugs.jsonl", "--eval-data", EXAMPLES / "drugs-eval.jsonl")
    result = run("finetune", "--model-class", "BioGptModel", *drugs, "--max-steps", "2")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == "", "libraries keep quiet"
    lines = result.stdout.splitlines()
    assert lines[0] == "no --model was given: this is the demo checkpoint of BioGptModel"
    assert lines[1] == "biogpt-lora/  lora on demo:biogpt, 55,296 parameters"
    assert lines[2].startswith("2 steps, training loss ")
    assert lines[3].startswith("evaluation loss 2.678 -> ")
    assert lines[4] == "merge it:  beamgen export --lora biogpt-lora"
    assert lines[5] == "or switch: beamgen export --lora biogpt-lora --lora-slots"

    again = run("finetune", "--model-class", "biogpt", *drugs)
    assert again.exit_code == 1
    assert again.stderr.splitlines()[0] == "error: biogpt-lora exists"
    as_json = run(
        "finetune", "--model-class", "biogpt", *drugs, "--max-steps", "2", "--force", "--json",
        "--target-modules", "q_proj",
    )  # fmt: skip
    values = json.loads(as_json.stdout)
    assert (values["folder"], values["steps"]) == ("biogpt-lora", 2)
    assert values["target_modules"] == ["q_proj"]


def test_libraries_keep_quiet_as_they_are_imported(tmp_path: Path) -> None:
    """In a process that has not imported them before."""
    data = ["--data", EXAMPLES / "drugs.jsonl", "--max-steps", "1"]
    command = [sys.executable, "-m", "beamgen", "finetune", "--model-class", "biogpt", *data]
    result = subprocess.run(
        [*command, "-o", tmp_path / "out"],
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_the_command_without_data(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run("finetune", "--model-class", "biogpt")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == "error: no training data was named"
    assert list(tmp_path.iterdir()) == []
