"""What the Trainer is given."""

from __future__ import annotations

from beamgen.training.token_ids import IGNORE_INDEX


def test_padding_is_neither_seen_nor_learned() -> None:
    from beamgen.training.hf_trainer import collate

    batch = collate(
        [
            {"input_ids": [5, 6, 7], "labels": [IGNORE_INDEX, 6, 7]},
            {"input_ids": [8, 9], "labels": [IGNORE_INDEX, 9]},
        ]
    )
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [-100, 9, -100]]
