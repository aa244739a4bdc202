"""Rows of text become the ids that a search is given, and rows that would not are refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.trainings import CHAT, EXAMPLES, ROWS, tokenized, train, two_lines
from transformers import AutoTokenizer

from beamgen import BeamgenError, find_adapter, finetune
from beamgen.training.token_ids import IGNORE_INDEX

pytestmark = pytest.mark.usefixtures("no_network")


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
    (row,) = tokenized(name, rows(ROWS[0]))
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
    (row,) = tokenized("phi3", rows({"messages": [*turns, answer]}))
    learned = [282, 292, 1238, 1240, 1279]  # ▁A ▁do g . <|end|>, without <|endoftext|>
    assert row.input_ids == [*prompt, *learned]
    assert row.labels == [*[IGNORE_INDEX] * len(prompt), *learned]


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
        train(tmp_path / "out", model_class=name, data=rows(row), eval_data=None)
    assert cause in two_lines(caught)
    assert [each.name for each in tmp_path.iterdir()] == ["rows.jsonl"]


def test_max_length_refuses_and_never_cuts(rows: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(BeamgenError) as caught:
        train(tmp_path / "out", data=rows(*ROWS), eval_data=None, max_length=9)
    assert "line 1 has 10 tokens, over 9" in two_lines(caught)
    with pytest.raises(BeamgenError) as caught:
        train(tmp_path / "out", max_length=129)
    assert "max_length 129 is more than the model's 128 positions" in two_lines(caught)


def test_a_template_that_refuses_names_the_line(rows: Callable[..., Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(find_adapter("phi3").demo, tmp_path / "phi3"))
    (folder / "chat_template.jinja").write_text("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(BeamgenError) as caught:
        finetune(folder, rows(CHAT), tmp_path / "out")
    assert (
        "line 1 is refused: the chat template does not take these messages: roles must alternate"
        in two_lines(caught)
    )


def test_a_checkpoint_without_a_tokenizer(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(BeamgenError) as caught:
        finetune(checkpoints("gpt2"), EXAMPLES / "drugs.jsonl", tmp_path / "out")
    assert "has no tokenizer, and training rows are text" in two_lines(caught)
