"""A checkpoint over 2 GB: external data, memory within bounds. Minutes, 10 GB of disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_MAKE = """
import sys, torch
from beamgen import find_adapter
from transformers import AutoModelForSeq2SeqLM, GPT2Config, GPT2LMHeadModel
torch.manual_seed(0)
{make}.save_pretrained(sys.argv[1], max_shard_size="1GB")
"""
#: GPT-2 large: 774 million parameters, 3.1 GB in float32.
_GPT2 = "GPT2LMHeadModel(GPT2Config(n_layer=36, n_embd=1280, n_head=20, pad_token_id=0))"
#: mBART large: 611 million, 2.4 GB, of which 1.0 are the table that both halves and the head share.
_MBART = "AutoModelForSeq2SeqLM.from_config(find_adapter('mbart_seq2seq').full_config())"

#: Runs the command line and reports the peak of its resident memory, in bytes.
_MEASURED = """
import re, sys
from beamgen.cli import main
try:
    main(sys.argv[1:])
finally:
    peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())
    print("peak", int(peak[1]) * 1024, file=sys.stderr)
"""


def _measured(*arguments: str) -> tuple[str, int]:
    result = subprocess.run(
        [sys.executable, "-c", _MEASURED, *arguments],
        text=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout, int(result.stderr.split()[-1])


@pytest.mark.parametrize(
    ("make", "backend"),
    [
        pytest.param(_GPT2, "loop", id="gpt2-loop"),
        pytest.param(_GPT2, "contrib", id="gpt2-contrib"),
        pytest.param(_MBART, "loop", id="mbart", marks=pytest.mark.transformers_4),
    ],
)
def test_a_large_model_exports_loads_and_generates(
    make: str, backend: str, tmp_path: Path, capsys
) -> None:
    checkpoint, package = tmp_path / "large", tmp_path / "package"
    subprocess.run([sys.executable, "-c", _MAKE.format(make=make), str(checkpoint)], check=True)
    stored = sum(path.stat().st_size for path in checkpoint.glob("*.safetensors"))
    assert stored > 2_000_000_000
    assert len(list(checkpoint.glob("*.safetensors"))) > 1, "sharded"

    output, peak = _measured(
        "export", "-m", str(checkpoint), "-o", str(package), "--search", backend, "--json"
    )
    manifest = json.loads(output)
    assert manifest["parity"]["diverged"] == 0
    names = {path.name for path in package.iterdir()}
    assert {"model.onnx", "model.onnx.data"} <= names
    assert not {name for name in names if name.startswith(".")}, "the raw trace is gone"
    assert (package / "model.onnx.data").stat().st_size < stored * 1.01, "tied weights stored once"

    ids = "5 6 7 8 9"
    text, loaded = _measured("generate", "-m", str(package), "--ids", ids, "--max-new-tokens", "8")
    before = 1 if make == _MBART else 5  # a decoder behind an encoder begins with its start
    assert len(text.split()) == before + 8
    with capsys.disabled():
        print(
            f"\ncheckpoint {stored / 1e9:.2f} GB; peak of export {peak / 1e9:.2f} GB "
            f"({peak / stored:.2f}x), of generate {loaded / 1e9:.2f} GB ({loaded / stored:.2f}x); "
            f"parity {manifest['parity']}"
        )
    assert peak <= 3 * stored
