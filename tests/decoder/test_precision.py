"""What a user may ask for, the record of it, and the text that it is measured on."""

from __future__ import annotations

from pathlib import Path

import pytest

from beamgen import BeamgenError, find_adapter
from beamgen.checkpoint.checkpoint import demo_checkpoint, open_checkpoint
from beamgen.export.texts import texts_of
from beamgen.quantization.record import Precision, Quality, Wanted


@pytest.mark.parametrize(
    ("wanted", "cause"),
    [
        ({"name": "int5"}, "there is no precision called 'int5'"),
        ({"name": "int8", "int8_weights": "s9"}, "there is no kind of int8 weights called 's9'"),
        ({"name": "fp16", "int8_weights": "u8"}, "were asked for with precision fp16"),
        ({"text": Path("x")}, "fp32 rounds nothing"),
    ],
)
def test_what_is_no_precision_is_refused(wanted: dict, cause: str) -> None:
    with pytest.raises(BeamgenError) as error:
        Wanted(**wanted)
    assert cause in error.value.cause


def test_a_record_survives_its_file() -> None:
    quality = Quality("text", 10, 3.5, 3.6, 0.95)
    record = Precision("int8", "uint8", 128, quantized=("a.weight",), noise=0.1, quality=quality)
    assert Precision.from_json(record.to_json() | {"quantized": ["a.weight"]}) == record
    mixed = Precision(
        "int4", "uint4", 8, 32, quantized=("a.weight", "b"), in_bytes=("b",), bytes_weights="int8"
    )
    assert Precision.from_json(mixed.to_json()) == mixed
    assert (mixed.of("a.weight"), mixed.of("b"), mixed.int8_weights) == ("int4", "int8", "s8")
    assert "1 of 2 in int8" in str(mixed)
    older = {name: value for name, value in mixed.to_json().items() if "bytes" not in name}
    assert Precision.from_json(older).of("b") == "int4", "made before any were in bytes"
    assert "95.0 % of 10 places" in str(quality)
    assert "not measured" in str(Quality())


def test_texts_are_read_or_refused(checkpoints, tmp_path: Path) -> None:
    adapter = find_adapter("gpt2")
    demo, bare = demo_checkpoint(adapter), open_checkpoint(checkpoints("gpt2"))
    held_out = texts_of(Wanted("int8"), demo, adapter)
    assert held_out is not None
    assert len(held_out.rows) == 256
    assert texts_of(Wanted("fp32"), demo, adapter) is None
    assert texts_of(Wanted("int8"), bare, adapter) is None
    chat = texts_of(Wanted("int8"), demo_checkpoint(find_adapter("phi3")), find_adapter("phi3"))
    assert chat is not None
    assert all(row[-1] == 1275 for row in chat.rows), "each ends a turn"
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "text.txt").write_text("a bird\n")
    (tmp_path / "chat.txt").write_text('[{"role": 1\n')
    for name, checkpoint, cause in (
        ("none.txt", demo, "cannot read the text"),
        ("empty.txt", demo, "holds no text"),
        ("chat.txt", demo, "line 1 of"),
        ("text.txt", bare, "has no tokenizer"),
    ):
        with pytest.raises(BeamgenError) as error:
            texts_of(Wanted("int8", text=tmp_path / name), checkpoint, adapter)
        assert cause in error.value.cause
