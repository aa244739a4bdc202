from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from transformers import AutoModelForCausalLM, AutoTokenizer

from beamgen import BeamgenError, FinetuneResult, find_adapter, finetune
from beamgen.checkpoint import demo_checkpoint, load_tokenizer
from beamgen.cli import main
from beamgen.training.data import IGNORE_INDEX, read_rows, stop_ids, tokenize_rows

peft = pytest.importorskip("peft")

EXAMPLES = Path(__file__).parents[1] / "examples" / "lora"
ROWS = [{"prompt": f"{name} is", "completion": " a drug."} for name in ("aspirin", "codeine")]
CHAT = {
    "messages": [
        {"role": "user", "content": "What is an ant?"},
        {"role": "assistant", "content": "An insect."},
    ]
}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a training reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., Path]:
    """``rows(row, row, ...)``: a JSONL file of them."""

    def write(*given: Any, name: str = "rows.jsonl") -> Path:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in given]
        (tmp_path / name).write_text("\n".join(lines))
        return tmp_path / name

    return write


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> FinetuneResult:
    """Thirty steps on the drugs; treat it as read-only."""
    return _train(tmp_path_factory.mktemp("trained") / "drugs")


def _train(output: Path, **settings: Any) -> FinetuneResult:
    given = {
        "model_class": "biogpt",
        "data": EXAMPLES / "drugs.jsonl",
        "eval_data": EXAMPLES / "drugs-eval.jsonl",
        "learning_rate": 5e-3,
        "lora_dropout": 0.1,
        "max_steps": 30,
        "save_steps": 10,
    }
    return finetune(output=output, **{**given, **settings})


def _weights(folder: Path) -> str:
    return hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()


def _tokenized(name: str, path: Path, limit: int = 128) -> Any:
    checkpoint = demo_checkpoint(find_adapter(name))
    tokenizer = load_tokenizer(checkpoint.folder)
    return tokenize_rows(read_rows(path), tokenizer, stop_ids(checkpoint, tokenizer), limit)


def _two_lines(caught: pytest.ExceptionInfo[BeamgenError]) -> str:
    assert len(str(caught.value).splitlines()) == 2
    assert caught.value.cure
    return caught.value.cause


@pytest.mark.parametrize(
    ("name", "prompt_ids", "completion_ids"),
    [
        # BioGPT's tokenizer begins every text with its EOS
        ("biogpt", [2, 229, 19, 287, 213, 192], [98, 432, 173, 2]),
        ("gpt2", [306, 79, 357, 258, 367], [256, 921, 439, 13, 1199]),
        ("phi3", [365, 1236, 378, 268, 267], [266, 863, 462, 1240, 1275]),
    ],
)
def test_a_completion_is_learned_up_to_and_with_its_eos(
    name: str, prompt_ids: list[int], completion_ids: list[int], rows: Callable[..., Path]
) -> None:
    (row,) = _tokenized(name, rows(ROWS[0]))
    assert row.input_ids == [*prompt_ids, *completion_ids]
    assert row.labels == [*[IGNORE_INDEX] * len(prompt_ids), *completion_ids]
    assert AutoTokenizer.from_pretrained(find_adapter(name).demo)("aspirin is")[
        "input_ids"
    ] == list(prompt_ids), "as a search is given it"


def test_of_a_chat_the_last_answer_is_learned(rows: Callable[..., Path]) -> None:
    turns = [*CHAT["messages"], {"role": "user", "content": "A dog?"}]
    answer = {"role": "assistant", "content": "A dog."}
    tokenizer = AutoTokenizer.from_pretrained(find_adapter("phi3").demo)
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True)
    (row,) = _tokenized("phi3", rows({"messages": [*turns, answer]}))
    learned = [282, 292, 1238, 1240, 1279]  # ▁A ▁do g . <|end|>, without <|endoftext|>
    assert row.input_ids == [*prompt, *learned]
    assert row.labels == [*[IGNORE_INDEX] * len(prompt), *learned]


def test_padding_is_neither_seen_nor_learned() -> None:
    from beamgen.training.trainer import _collate

    batch = _collate(
        [
            {"input_ids": [5, 6, 7], "labels": [IGNORE_INDEX, 6, 7]},
            {"input_ids": [8, 9], "labels": [IGNORE_INDEX, 9]},
        ]
    )
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [-100, 9, -100]]


def test_the_loss_is_that_of_the_completions(trained: FinetuneResult) -> None:
    """Computed anew, row by row, with nothing of the Trainer's."""
    base = AutoModelForCausalLM.from_pretrained(find_adapter("biogpt").demo).eval()
    batches = [_tokenized("biogpt", EXAMPLES / "drugs-eval.jsonl")[i : i + 8] for i in (0, 8)]

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
    again = _train(tmp_path / "again")
    assert torch.equal(torch.random.get_rng_state(), before), "nor does it draw from the process"
    assert _weights(again.folder) == _weights(trained.folder)
    assert again.eval_loss == trained.eval_loss
    for name in ("adapter_config.json", "finetune.json"):
        assert (again.folder / name).read_text() == (trained.folder / name).read_text()
    assert _weights(_train(tmp_path / "other", seed=1).folder) != _weights(trained.folder)
    unmeasured = _train(tmp_path / "unmeasured", eval_data=None)
    assert _weights(unmeasured.folder) == _weights(trained.folder), "measuring changes nothing"


def test_all_linear_stands_alone(tmp_path: Path) -> None:
    with pytest.raises(BeamgenError, match="all-linear and others"):
        _train(tmp_path / "mixed", target_modules=["all-linear", "q_proj"])
    assert not (tmp_path / "mixed").exists()


def test_a_training_that_diverges_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(BeamgenError, match="the training diverged") as caught:
        _train(tmp_path / "lost", learning_rate=1e30, max_steps=5)
    assert "--learning-rate" in caught.value.cure
    assert not (tmp_path / "lost").exists()


def test_settings_reach_peft(tmp_path: Path) -> None:
    result = _train(
        tmp_path / "small",
        rank=2, lora_alpha=7, target_modules=["q_proj", "v_proj"], use_rslora=True, max_steps=1,
    )  # fmt: skip
    config = peft.PeftConfig.from_pretrained(result.folder)
    assert (config.r, config.lora_alpha, config.lora_dropout) == (2, 7, 0.1)
    assert (set(config.target_modules), config.use_rslora) == ({"q_proj", "v_proj"}, True)
    assert result.trainable_parameters == 4 * 2 * 2 * (96 + 96)  # layers, modules, r (in + out)


def test_one_module_may_be_named_alone(tmp_path: Path) -> None:
    result = _train(tmp_path / "one", model_class="gpt2", target_modules="c_attn", max_steps=1)
    config = peft.PeftConfig.from_pretrained(result.folder)
    assert set(config.target_modules) == {"c_attn"}
    base = AutoModelForCausalLM.from_pretrained(find_adapter("gpt2").demo)
    peft.PeftModel.from_pretrained(base, result.folder)


def test_without_evaluation_rows_there_is_no_evaluation(tmp_path: Path) -> None:
    result = _train(
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
        _train(output, progress=_interrupt_at(25))
    assert not output.exists()
    assert [path.name for path in work.glob("checkpoint-*")] == ["checkpoint-20"]

    with pytest.raises(BeamgenError) as caught:
        _train(output)
    assert "is left from an interrupted training" in _two_lines(caught)
    with pytest.raises(BeamgenError) as caught:
        _train(output, resume=True, learning_rate=1e-3, data=EXAMPLES / "animals.jsonl")
    cause = _two_lines(caught)
    assert "learning_rate was 0.005, now 0.001" in cause
    assert "data was drugs.jsonl (SHA-256" in cause
    assert "rank" not in cause

    (work / "checkpoint-30").mkdir()  # killed while it was saved
    lines: list[str] = []
    result = _train(output, resume=True, progress=lines.append)
    steps = [line.split()[2] for line in lines if line.startswith("training: step")]
    assert steps == [str(step) for step in range(21, 31)]
    assert _weights(output) == _weights(trained.folder)
    assert result.train_loss == trained.train_loss, "over all steps"
    assert result.eval_loss_before == trained.eval_loss_before
    assert [path.name for path in tmp_path.iterdir()] == ["drugs"]


def test_an_interruption_before_the_first_save_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "deep" / "out", progress=_interrupt_at(2))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BeamgenError) as caught:
        _train(tmp_path / "out", resume=True)
    assert "there is nothing to resume" in _two_lines(caught)


def test_force_begins_anew_and_replaces_in_one_rename(
    trained: FinetuneResult, tmp_path: Path
) -> None:
    output = Path(shutil.copytree(trained.folder, tmp_path / "out"))
    with pytest.raises(KeyboardInterrupt):
        _train(output, force=True, progress=_interrupt_at(11))
    assert _weights(output) == _weights(trained.folder), "the finished one stays until then"
    _train(output, force=True, max_steps=1)
    assert _weights(output) != _weights(trained.folder)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_qlora_learns_on_an_nf4_base(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    result = _train(tmp_path / "q", method="qlora")
    full = _train(tmp_path / "full", max_steps=1)
    assert result.eval_loss < 1.0
    assert result.eval_loss_before != pytest.approx(full.eval_loss_before, abs=1e-4)
    base = AutoModelForCausalLM.from_pretrained(find_adapter("biogpt").demo).eval()
    peft.PeftModel.from_pretrained(base, result.folder)
    assert result.base == "demo:biogpt"


@pytest.mark.parametrize(
    ("method", "missing"), [("lora", "peft"), ("qlora", "bitsandbytes"), ("loftq", "bitsandbytes")]
)
def test_a_missing_package_is_named_before_anything_is_read(
    method: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == missing else find_spec(name, *rest),
    )
    with pytest.raises(BeamgenError) as caught:
        finetune("nowhere", "nothing.jsonl", tmp_path / "out", method=method)
    assert f"--method {method} needs the package '{missing}'" in _two_lines(caught)
    assert caught.value.cure == "pip install 'beamgen[finetune]'"


def test_bitsandbytes_that_cannot_quantize_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    functional = pytest.importorskip("bitsandbytes.functional")

    def broken(*_: Any, **__: Any) -> None:
        raise NotImplementedError("no kernel for 'cpu'")

    monkeypatch.setattr(functional, "quantize_4bit", broken)
    with pytest.raises(BeamgenError) as caught:
        finetune("nowhere", "nothing.jsonl", tmp_path / "out", method="qlora")
    assert "--method qlora cannot run on this machine" in _two_lines(caught)
    assert "no kernel for 'cpu'" in caught.value.cause


def _as_if_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """scipy: peft asks whether it is there, and then does without."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: find_spec("math" if name == "scipy" else name, *rest),
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="here it can run")
def test_loftq_says_that_it_needs_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bitsandbytes")
    _as_if_installed(monkeypatch)
    with pytest.raises(BeamgenError) as caught:
        finetune("nowhere", "nothing.jsonl", tmp_path / "out", method="loftq")
    assert "loftq cannot run on this machine: peft computes LoftQ's start on a GPU only" in (
        _two_lines(caught)
    )


class _CudaIsCpu(torch.overrides.TorchFunctionMode):
    """``tensor.to("cuda")`` stays where it is."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.to and kwargs.get("device") == "cuda":
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)


@pytest.fixture
def loftq(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """LoftQ with everything but the GPU."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    _as_if_installed(monkeypatch)
    to_device = bitsandbytes.nn.Params4bit.to
    monkeypatch.setattr(bitsandbytes.nn.Params4bit, "to", lambda self, _: to_device(self, "cpu"))
    monkeypatch.setattr("beamgen.training.trainer.why_not", lambda method: "")
    with _CudaIsCpu():
        yield


@pytest.mark.usefixtures("loftq")
def test_loftq_writes_the_base_its_lora_belongs_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beamgen.training import trainer

    kept = {}
    ids, save = torch.arange(5, 30)[None], trainer._save

    def save_and_keep(job: Any, model: Any, folder: Path) -> None:
        with torch.no_grad():
            kept["logits"] = model.eval()(ids).logits
        save(job, model, folder)

    monkeypatch.setattr(trainer, "_save", save_and_keep)
    result = _train(tmp_path / "l", method="loftq", max_steps=5)
    config = json.loads((result.folder / "adapter_config.json").read_text())
    assert config["init_lora_weights"] is True
    assert config["base_model_name_or_path"] == result.base == str(result.folder / "base")

    base = AutoModelForCausalLM.from_pretrained(result.base).eval()
    demo = find_adapter("biogpt").demo
    with torch.no_grad():
        original = AutoModelForCausalLM.from_pretrained(demo).eval()(ids).logits
        assert (base(ids).logits - original).abs().max() > 0.1, "its weights are LoftQ's"
        lora = peft.PeftModel.from_pretrained(base, result.folder).eval()
        assert (lora(ids).logits - kept["logits"]).abs().max() < 1e-4
    assert load_tokenizer(Path(result.base))("x")["input_ids"] == [
        *AutoTokenizer.from_pretrained(demo)("x")["input_ids"]
    ]
    assert (Path(result.base) / "generation_config.json").is_file()


@pytest.mark.usefixtures("loftq")
def test_loftq_refuses_layers_peft_would_get_wrong(tmp_path: Path) -> None:
    with pytest.raises(BeamgenError) as caught:
        _train(tmp_path / "out", method="loftq", model_class="gpt2")
    assert "peft has no LoftQ for the Conv1D layers of demo:gpt2" in _two_lines(caught)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ([], "has no rows"),
        (["  ", ""], "has no rows"),
        ([ROWS[0], "", "{nonsense", "[1]"], "line 3 is no JSON"),
        ([ROWS[0], "", "{nonsense", "[1]"], "line 4 is list, not an object"),
        ([{"prompt": "x"}], "line 1 has the keys prompt"),
        ([{**ROWS[0], "id": 3}], "line 1 has the keys prompt, completion, id"),
        ([{"prompt": 3, "completion": " x"}], "line 1 has a prompt that is no text"),
        ([{"prompt": "x", "completion": "  "}], "line 1 has an empty completion"),
        ([ROWS[0], CHAT], "begins with a row of prompt and completion, but line 2 is of messages"),
        ([{"messages": "hello"}], "line 1 has no list of two messages"),
        ([{"messages": CHAT["messages"][:1]}], "line 1 has no list of two messages"),
        ([{"messages": CHAT["messages"][::-1]}], "line 1 ends with a message of 'user'"),
        ([{"messages": [{"role": "user"}] * 2}], "line 1 has a message 1 of other keys"),
        (["[]"] * 7, "line 5 is list, not an object; and 2 more lines"),
    ],
)
def test_rows_of_a_wrong_form_are_named(
    lines: list[Any], cause: str, rows: Callable[..., Path], tmp_path: Path
) -> None:
    path = rows(*lines)
    with pytest.raises(BeamgenError) as caught:
        _train(tmp_path / "out", data=path, eval_data=None)
    assert cause in _two_lines(caught)
    assert str(path) in caught.value.cause
    assert [each.name for each in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize(
    ("name", "row", "cause"),
    [
        # the prompt's last word would be another token: "is</w>" became "is"
        ("biogpt", {"prompt": "aspirin is", "completion": "a drug"}, "merges the prompt's end"),
        ("phi3", {"prompt": "aspirin is\n<|user|>", "completion": " "}, "empty completion"),
        ("gpt2", {"prompt": "", "completion": "a drug"}, "has a prompt of no tokens"),
        ("biogpt", {"prompt": "it", "completion": " a</s> b"}, "goes on behind '</s>'"),
        ("biogpt", {"prompt": "it", "completion": " </s>"}, "has a completion of no text"),
        ("biogpt", {"prompt": "it", "completion": " a" * 200}, "line 1 has 203 tokens, over 128"),
        ("biogpt", CHAT, "has no chat template"),
    ],
)
def test_rows_a_search_would_not_see_so_are_refused(
    name: str, row: Any, cause: str, rows: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(BeamgenError) as caught:
        _train(tmp_path / "out", model_class=name, data=rows(row), eval_data=None)
    assert cause in _two_lines(caught)
    assert [each.name for each in tmp_path.iterdir()] == ["rows.jsonl"]


def test_max_length_refuses_and_never_cuts(rows: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(BeamgenError) as caught:
        _train(tmp_path / "out", data=rows(*ROWS), eval_data=None, max_length=9)
    assert "line 1 has 10 tokens, over 9" in _two_lines(caught)
    with pytest.raises(BeamgenError) as caught:
        _train(tmp_path / "out", max_length=129)
    assert "max_length 129 is more than the model's 128 positions" in _two_lines(caught)


def test_a_template_that_refuses_names_the_line(rows: Callable[..., Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(find_adapter("phi3").demo, tmp_path / "phi3"))
    (folder / "chat_template.jinja").write_text("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(BeamgenError) as caught:
        finetune(folder, rows(CHAT), tmp_path / "out")
    assert "line 1 is refused by the chat template: roles must alternate" in _two_lines(caught)


def test_evaluation_rows_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(BeamgenError) as caught:
        _train(tmp_path / "out", eval_data=EXAMPLES / "animals-chat.jsonl")
    assert "animals-chat.jsonl holds rows of messages, but" in _two_lines(caught)


def test_impossible_settings_are_named_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(BeamgenError) as caught:
        _train(
            tmp_path / "out",
            rank=0, lora_alpha=0, lora_dropout=1.0, learning_rate=0, batch_size=0, max_steps=0,
            num_train_epochs=2, max_length=1, seed=-1, save_steps=0, target_modules=[],
        )  # fmt: skip
    cause = _two_lines(caught)
    for name in (
        "rank 0", "lora_alpha 0", "lora_dropout 1.0", "learning_rate 0", "batch_size 0",
        "max_steps 0", "max_length 1", "seed -1", "save_steps 0", "target_modules",
        "num_train_epochs and max_steps",
    ):  # fmt: skip
        assert name in cause
    with pytest.raises(BeamgenError, match="no method called 'qlor'\ndid you mean qlora"):
        _train(tmp_path / "out", method="qlor")


def test_layers_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(BeamgenError) as caught:
        _train(tmp_path / "out", target_modules=["c_attn"])
    assert "c_attn" in _two_lines(caught)
    assert "q_proj" in caught.value.cure
    assert "embed" not in caught.value.cure
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_are_not_replaced(trained: FinetuneResult, tmp_path: Path) -> None:
    with pytest.raises(BeamgenError) as caught:
        _train(trained.folder)
    assert _two_lines(caught).endswith("drugs exists")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("notes")
    with pytest.raises(BeamgenError) as caught:
        _train(tmp_path / "mine", force=True)
    assert "is not a PEFT folder, so it will not be replaced" in _two_lines(caught)
    (tmp_path / "link").symlink_to(trained.folder)
    with pytest.raises(BeamgenError) as caught:
        _train(tmp_path / "link", force=True)
    assert "is a symbolic link" in _two_lines(caught)


def test_a_checkpoint_without_a_tokenizer(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(BeamgenError) as caught:
        finetune(checkpoints("gpt2"), EXAMPLES / "drugs.jsonl", tmp_path / "out")
    assert "has no tokenizer, and training rows are text" in _two_lines(caught)


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


def test_the_command_without_data(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run("finetune", "--model-class", "biogpt")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == "error: no training data was named"
    assert list(tmp_path.iterdir()) == []
