"""Checkpoints that nobody should write: each changes a good one in one way."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

WEIGHTS, CONFIG = "model.safetensors", "config.json"
GENERATION, INDEX = "generation_config.json", "model.safetensors.index.json"

Change = Callable[[Path], object]


def header_of(folder: Path) -> tuple[dict[str, Any], bytes]:
    """A safetensors file's header and its body."""
    data = (folder / WEIGHTS).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def write_header(folder: Path, header: object, body: bytes, size: int | None = None) -> None:
    """Write a safetensors file, whose header may lie about its own size."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(text) if size is None else size
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", length) + text + body)


def _header(change: Callable[[dict[str, Any]], object]) -> Change:
    """Change the header in place."""

    def apply(folder: Path) -> None:
        header, body = header_of(folder)
        change(header)
        write_header(folder, header, body)

    return apply


def _first(header: dict[str, Any]) -> dict[str, Any]:
    return header[next(name for name in header if name != "__metadata__")]


def _tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})

    return apply


def _bytes(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def _cut(name: str, keep: Callable[[int], int]) -> Change:
    def apply(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: keep(len(data))])

    return apply


def _json(name: str, change: Callable[[dict[str, Any]], object]) -> Change:
    def apply(folder: Path) -> None:
        values = json.loads((folder / name).read_text())
        change(values)
        (folder / name).write_text(json.dumps(values))

    return apply


def _encoded(name: str, encoding: str) -> Change:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_text().encode(encoding))

    return apply


def _replaced(name: str, make: Callable[[Path], object]) -> Change:
    def apply(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return apply


class _Code:
    """A pickle that makes a file where it is read."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.mark}",))


#: A file that hostile code would make beside the checkpoint.
MARK = "code-has-run"


def _pickled(name: str, *, in_torch: bool) -> Change:
    def apply(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        code = _Code(str(folder.parent / MARK))
        if in_torch:
            torch.save({"transformer.wte.weight": code}, folder / name)
        else:
            (folder / name).write_bytes(pickle.dumps(code))

    return apply


def _index(weight_map: object) -> Change:
    def apply(folder: Path) -> None:
        shutil.move(folder / WEIGHTS, folder / "model-00001-of-00001.safetensors")
        index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        (folder / INDEX).write_text(json.dumps(index))

    return apply


def _map(folder: Path, shard: str) -> dict[str, str]:
    return dict.fromkeys((n for n in header_of(folder)[0] if n != "__metadata__"), shard)


def _shards(shard: str) -> Change:
    return lambda folder: _index(_map(folder, shard))(folder)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345678\n"
DEEP = b"[" * 200_000
DEEP_TABLE = b'{"a":' * 100_000 + b"1" + b"}" * 100_000


def _lie(offsets: list[int], **fields: Any) -> Change:
    return _header(lambda h: _first(h).update(data_offsets=offsets, **fields))


def _swap_offsets(header: dict[str, Any]) -> None:
    names = [name for name in header if name != "__metadata__"]
    first, second = header[names[0]], header[names[1]]
    first["data_offsets"] = second["data_offsets"]


def _twice(folder: Path) -> None:
    header, body = header_of(folder)
    text = json.dumps(header)
    name = next(n for n in header if n != "__metadata__")
    doubled = text[:-1] + f', "{name}": {json.dumps(header[name])}}}'
    write_header(folder, doubled.encode(), body)


#: By name, what is wrong with a checkpoint.
FILES: dict[str, Change] = {
    # a safetensors file that is cut, or lies of itself
    "no bytes": _bytes(WEIGHTS, b""),
    "seven bytes": _cut(WEIGHTS, lambda size: 7),
    "header cut": _cut(WEIGHTS, lambda size: 100),
    "body cut by one": _cut(WEIGHTS, lambda size: size - 1),
    "body cut by half": _cut(WEIGHTS, lambda size: size // 2),
    "no body": lambda folder: write_header(folder, header_of(folder)[0], b""),
    "a byte more": lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes() + b"x"),
    "header of 2**63": lambda f: write_header(f, *header_of(f), size=2**63),
    "header of 2**64 - 1": lambda f: write_header(f, *header_of(f), size=2**64 - 1),
    "header of 0 bytes": lambda f: write_header(f, *header_of(f), size=0),
    "header of 100 MB of spaces": lambda f: write_header(f, b" " * 100_000_001, b""),
    "header is no JSON": lambda f: write_header(f, b"{not json", header_of(f)[1]),
    "header is a list": lambda f: write_header(f, [], header_of(f)[1]),
    "header is deep": lambda f: write_header(f, DEEP, b""),
    "header names a tensor twice": _twice,
    "header is no UTF-8": lambda f: write_header(f, b'{"\xff": 1}', b""),
    "offsets overlap": _header(_swap_offsets),
    "offsets backwards": _lie([8, 0]),
    "offsets negative": _lie([-8, 0]),
    "offsets beyond the file": _lie([0, 2**40]),
    "offsets of 2**64": _lie([0, 2**64]),
    "offsets that are words": _lie(["a", "b"]),  # type: ignore[list-item]
    "shape lies": _header(lambda h: _first(h).update(shape=[2**31, 2**31])),
    "shape negative": _header(lambda h: _first(h).update(shape=[-1])),
    "shape of 2**64": _header(lambda h: _first(h).update(shape=[2**64])),
    "dtype unknown": _header(lambda h: _first(h).update(dtype="F33")),
    "dtype is a number": _header(lambda h: _first(h).update(dtype=5)),
    "metadata is a list": _header(lambda h: h.update(__metadata__=[])),
    "metadata names no format": _header(lambda h: h.pop("__metadata__", None)),
    "metadata of TensorFlow": _header(lambda h: h.update(__metadata__={"format": "tf"})),
    # tensors that do not fit
    "no tensors": _tensors(lambda t: t.clear()),
    "one tensor less": _tensors(lambda t: t.pop(next(iter(t)))),
    "a tensor of another shape": _tensors(lambda t: t.update({next(iter(t)): torch.zeros(3)})),
    "a scalar tensor": _tensors(lambda t: t.update({next(iter(t)): torch.tensor(1.0)})),
    "an empty tensor": _tensors(lambda t: t.update({next(iter(t)): torch.zeros(0, 64)})),
    "whole numbers": _tensors(lambda t: t.update({k: v.long() for k, v in t.items()})),
    "flags": _tensors(lambda t: t.update({k: v > 0 for k, v in t.items()})),
    "complex numbers": _tensors(lambda t: t.update({k: v.cfloat() for k, v in t.items()})),
    "fp8": _tensors(lambda t: t.update({k: v.to(torch.float8_e4m3fn) for k, v in t.items()})),
    "names with slashes": _tensors(lambda t: t.update({"../../x": torch.zeros(1)})),
    "a very long name": _tensors(lambda t: t.update({"x" * 100_000: torch.zeros(1)})),
    "a name of a list": _tensors(lambda t: t.update({"transformer.h.0.0.0": torch.zeros(1)})),
    # files of another kind
    "an LFS pointer": _bytes(WEIGHTS, LFS),
    "a web page": _bytes(WEIGHTS, b"<!DOCTYPE html><html>404</html>"),
    "an archive": _bytes(WEIGHTS, b"PK\x03\x04" + b"\0" * 1000),
    "a pickle with code": _pickled("pytorch_model.bin", in_torch=False),
    "torch's file with code": _pickled("pytorch_model.bin", in_torch=True),
    "a pickle called safetensors": lambda f: _pickled(WEIGHTS, in_torch=False)(f),
    "an empty .bin": lambda f: ((f / WEIGHTS).unlink(), _bytes("pytorch_model.bin", b"")(f)),
    "a .bin that is an LFS pointer": lambda f: (
        (f / WEIGHTS).unlink(), _bytes("pytorch_model.bin", LFS)(f)
    ),
    "a .bin of a list": lambda f: (
        (f / WEIGHTS).unlink(), torch.save([1, 2], f / "pytorch_model.bin")
    ),
    "a .bin of numbers": lambda f: (
        (f / WEIGHTS).unlink(), torch.save({"a": 1}, f / "pytorch_model.bin")
    ),
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "weights are a folder": _replaced(WEIGHTS, Path.mkdir),
    "weights are a pipe": _replaced(WEIGHTS, os.mkfifo),
    "weights link to themselves": _replaced(WEIGHTS, lambda p: p.symlink_to(p.name)),
    "weights link to nothing": _replaced(WEIGHTS, lambda p: p.symlink_to("nothing")),
    "weights are /dev/zero": _replaced(WEIGHTS, lambda p: p.symlink_to("/dev/zero")),
    # shards
    "shards in order": _shards("model-00001-of-00001.safetensors"),
    "a shard that is missing": _shards("model-00002-of-00001.safetensors"),
    "a shard outside": _shards("../../outside.safetensors"),
    "a shard with an absolute path": _shards("/etc/passwd"),
    "a shard that is a folder": _shards("."),
    "a shard without a name": _shards(""),
    "a shard that is a number": _index({"transformer.wte.weight": 5}),
    "an index of a list": _index([]),
    "an index of null": _index(None),
    "an index without tensors": _index({}),
    "an index that is a list": lambda f: (
        _index({})(f), (f / INDEX).write_text("[]")
    ),
    "an index that is deep": lambda f: (_index({})(f), (f / INDEX).write_bytes(DEEP)),
    # config.json and generation_config.json
    **{
        f"{name}: {what}": change
        for name in (CONFIG, GENERATION)
        for what, change in {
            "no bytes": _bytes(name, b""),
            "a list": _bytes(name, b"[]"),
            "a number": _bytes(name, b"5"),
            "null": _bytes(name, b"null"),
            "a word": _bytes(name, b'"gpt2"'),
            "an empty table": _bytes(name, b"{}"),
            "cut": _cut(name, lambda size: size // 2),
            "NUL bytes": _bytes(name, b"\0" * 100),
            "no UTF-8": _bytes(name, b'{"model_type": "\xff\xfe"}'),
            "a BOM": _encoded(name, "utf-8-sig"),
            "UTF-16": _encoded(name, "utf-16"),
            "UTF-32": _encoded(name, "utf-32"),
            "a deep list": _bytes(name, DEEP),
            "a deep table": _bytes(name, DEEP_TABLE),
            "a number of 100,000 digits": _bytes(name, b'{"vocab_size": ' + b"9" * 100_000 + b"}"),
            "100 MB of spaces": _bytes(name, b" " * 100_000_000),
            "NaN": _json(name, lambda c: c.update(eos_token_id=float("nan"))),
            "keys that are odd": _json(name, lambda c: c.update({"": 1, "a b": 2, "é\0": 3})),
            "self": _json(name, lambda c: c.update(self=1, kwargs=2, args=3)),
            "dunder": _json(name, lambda c: c.update(__class__=1, __dict__={"a": 1})),
            "methods": _json(name, lambda c: c.update(to_dict=1, from_dict=2, get_text_config=3)),
            "a folder": _replaced(name, Path.mkdir),
            "a pipe": _replaced(name, os.mkfifo),
            "a link to itself": _replaced(name, lambda p: p.symlink_to(p.name)),
            "a link to nothing": _replaced(name, lambda p: p.symlink_to("nothing")),
            "no permission": lambda folder, name=name: (folder / name).chmod(0),
        }.items()
    },
    "both configs swapped": lambda f: (
        (f / CONFIG).rename(f / "x"), (f / GENERATION).rename(f / CONFIG),
        (f / "x").rename(f / GENERATION),
    ),
    "code that is missing": _json(
        CONFIG, lambda c: c.update(auto_map={"AutoConfig": "configuration_x.X"})
    ),
    "code on another hub": _json(
        CONFIG, lambda c: c.update(auto_map={"AutoModelForCausalLM": "other/repo--m.X"})
    ),
    "an auto_map that is a word": _json(CONFIG, lambda c: c.update(auto_map="x")),
    "architectures that are numbers": _json(CONFIG, lambda c: c.update(architectures=[1, None])),
}  # fmt: skip
