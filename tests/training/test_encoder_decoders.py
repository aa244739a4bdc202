"""Fine-tuning an encoder-decoder: pairs of texts become a LoRA that peft and a package take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
from support.trainings import CHAT, two_lines
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from beamgen import BeamgenError, FinetuneResult, Generator, export, finetune

pytestmark = pytest.mark.usefixtures("no_network")

PAIRS = [
    {"prompt": "the old woman", "completion": "a doctor"},
    {"prompt": "the patient in the house", "completion": "the drug of the doctor"},
    {"prompt": "the house", "completion": "old"},
]
START = 0


@pytest.fixture(scope="module")
def trained(
    text_checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> FinetuneResult:
    """Until it says the first of them, of which it was shown no other; treat it as read-only."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "learned.jsonl").write_text("\n".join([json.dumps(PAIRS[0])] * 64))
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, PAIRS)))
    return finetune(
        text_checkpoints("t5"),
        folder / "learned.jsonl",
        folder / "lora",
        eval_data=folder / "pairs.jsonl",
        learning_rate=3e-2,
        num_train_epochs=3,
    )


def test_the_loss_is_that_of_the_completions(trained: FinetuneResult, text_checkpoints) -> None:
    """Computed anew, row by row: the decoder begins with the start token, as a search does."""
    base = AutoModelForSeq2SeqLM.from_pretrained(text_checkpoints("t5")).eval()
    tokenizer = AutoTokenizer.from_pretrained(text_checkpoints("t5"))

    def mean_loss(model: torch.nn.Module) -> float:
        log_probs = []
        for row in PAIRS:
            labels = tokenizer(text_target=row["completion"]).input_ids
            begun = torch.tensor([[START, *labels[:-1]]])
            read = tokenizer(row["prompt"], return_tensors="pt")
            with torch.no_grad():
                scores = model(**read, decoder_input_ids=begun).logits[0].log_softmax(-1)
            log_probs += [scores[at, token].item() for at, token in enumerate(labels)]
        return -sum(log_probs) / len(log_probs)

    assert trained.eval_loss_before == pytest.approx(mean_loss(base), abs=1e-4)
    model = peft.PeftModel.from_pretrained(base, trained.folder).eval()
    assert isinstance(model, peft.PeftModelForSeq2SeqLM)
    assert trained.eval_loss == pytest.approx(mean_loss(model), abs=1e-4)


def test_a_package_says_what_was_learned(
    trained: FinetuneResult, text_checkpoints, tmp_path: Path
) -> None:
    base, lora = text_checkpoints("t5"), trained.folder
    package = export(base, tmp_path / "made", lora=[lora], parity=False).package
    ((best,),) = Generator(package).generate([PAIRS[0]["prompt"]], max_new_tokens=12)
    assert (best.text, best.finish_reason) == (PAIRS[0]["completion"], "eos")


@pytest.mark.parametrize(
    ("row", "options", "cause"),
    [
        (CHAT, {}, "holds chats, and an encoder-decoder is trained on pairs of texts"),
        (PAIRS[1], {"max_length": 5}, r"line 1 has a prompt of \d+ tokens, over 5"),
        ({"prompt": "a", "completion": "the doctor in the house"}, {"max_length": 5},
         r"line 1 has a completion of \d+ tokens, over 5"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_refused(
    row: dict, options: dict, cause: str, text_checkpoints, rows, tmp_path: Path
) -> None:
    with pytest.raises(BeamgenError, match=cause) as error:
        finetune(text_checkpoints("t5"), rows(row), tmp_path / "lora", **options)
    two_lines(error)
    assert not (tmp_path / "lora").exists()
