"""A mistake is named before torch and transformers are imported, which takes seconds."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from beamgen import Package, export

_PROBE = """
import sys
from beamgen.cli import main
try:
    main(sys.argv[1:], prog_name="beamgen")
finally:
    print("IMPORTED", *sorted({name.partition(".")[0] for name in sys.modules}))
"""

#: What is typed, where these lie: ``checkpoint``, ``package``, ``int8`` (another package),
#: ``empty`` (a folder), ``file``, ``good.jsonl``, ``bad.jsonl``. And what the cause says.
MISTAKES = {
    # a checkpoint
    "export": "neither a checkpoint nor a model class",
    "export --model-class BioGptMdel": "no adapter for 'BioGptMdel'",
    "export -m ./nothing": "there is no folder ./nothing",
    "export -m file": "file is a file, not a checkpoint folder",
    "export -m empty": "empty holds no config.json",
    "export -m package": "package is a beamgen package, not a checkpoint",
    "export -m https://huggingface.co/gpt2/tree/main": "is the address of a page",
    "export -m someone/somewhere": "the hub gave no such checkpoint",
    "export -m checkpoint --model-class BioGptModel": "is a 'gpt2' checkpoint, but BioGptModel is",
    "export -m checkpoint --revision main": "--revision main was given with the local folder",
    "export -m t5gemma": "no adapter for the encoder-decoder 't5gemma'",
    "export -m mamba": "no file can be made of a 'mamba' model: each beam carries states",
    "export -m t5 --model-class gpt2": "is a 't5' checkpoint",
    "export -m t5 --adapter default": "and the adapter 'default' is for a decoder alone",
    # an output
    "export -m checkpoint -o package": "package exists",
    "export -m checkpoint -o empty/..": "the current folder would have to be replaced",
    "export -m checkpoint -o lora": "lora exists and is not a beamgen package",
    # a setting
    "export -m checkpoint --num-beams 0": "num_beams must be",
    "export --model-class gpt2 --do-sample --temperature 0": "temperature must be",
    "export -m checkpoint --set nonsense": "is no NAME=VALUE",
    "export -m checkpoint --set nonsense=1": "setting called 'nonsense'",
    "export -m checkpoint --set max_time=2": "max_time=2 (a file has no clock)",
    "export -m checkpoint --num-beams 2 --num-return-sequences 3": "is more than num_beams (2)",
    "export -m checkpoint --num-return-sequences 9": "is more than num_beams (5)",
    "export -m checkpoint --min-new-tokens 9 --max-new-tokens 3": "is more than max_new_tokens (3)",
    "export -m checkpoint --max-new-tokens 256": "more than the model's 256 positions hold",
    "export -m checkpoint --max-length 257": "more than the model's 256 positions hold",
    "export --model-class phi3 --max-new-tokens 9999": "positions hold",
    "export -m nameless": "config.json has no model_type",
    "export -m awq": "quantized by awq",
    "export -m pruned": "had attention heads pruned",
    "finetune -m lora --data good.jsonl": "holds a LoRA, not a model",
    "export -m checkpoint --eos-token-id 5000": "outside the vocabulary of 96",
    "export -m checkpoint --search contrib --early-stopping never": "BeamSearch cannot honour",
    "export -m checkpoint --require sed": "no parameter called 'sed'",
    "export -m checkpoint --require lora": "there are no slots",
    # a precision
    "export -m checkpoint --precision fp16 --int8-weights s8": "asked for with precision fp16",
    "export -m checkpoint --quality-text file": "fp32 rounds nothing",
    "export -m checkpoint --precision int8 --quality-text none": "cannot read the text none",
    # a LoRA
    "export -m checkpoint --lora ./none": "there is no folder ./none",
    "export -m checkpoint --lora file": "file is a file, not a PEFT folder",
    "export -m checkpoint --lora empty": "empty holds no adapter_config.json",
    "export -m checkpoint --lora empty --lora-slots": "empty holds no adapter_config.json",
    "export -m checkpoint --lora lora --lora lora": "2 LoRAs were given to be merged",
    "export --lora empty": "empty holds no adapter_config.json",
    # a training
    "finetune -m checkpoint": "no training data was named",
    "finetune --model-class BioGptMdel --data good.jsonl": "no adapter for 'BioGptMdel'",
    "finetune -m ./nothing --data good.jsonl": "there is no folder ./nothing",
    "finetune -m checkpoint --data none": "cannot read none",
    "finetune -m checkpoint --data bad.jsonl": "bad.jsonl: line 1 has the keys prompt",
    "finetune -m checkpoint --data good.jsonl --eval-data bad.jsonl": "bad.jsonl: line 1",
    "finetune -m checkpoint --data good.jsonl --rank 0": "rank 0 must be 1 or more",
    "finetune -m checkpoint --data good.jsonl --max-steps 3 --num-train-epochs 2": "both say how",
    "finetune -m checkpoint --data good.jsonl -o package": "is not a PEFT folder",
    "finetune -m checkpoint --data good.jsonl": "checkpoint has no tokenizer",
    # a package
    "quantize none": "none is not a beamgen package",
    "quantize int8": "int8 is int8 already",
    "quantize package -o int8": "int8 exists",
    "quantize package -o package": "package is the package that is read",
    "quantize package --precision fp16 --int8-weights s8": "asked for with precision fp16",
    "quantize package --quality-text none": "cannot read the text none",
    "quantize package --checkpoint ./none": "there is no folder ./none",
    "package text -m none": "none is not a beamgen package",
    "package text -m checkpoint": "checkpoint is not a beamgen package",
    "package text -m package": "package has no tokenizer",
    "package triton -m package -o int8": "int8 exists and is not a Triton model",
    "package triton -m package --num-beams 0": "num_beams must be",
    "package triton -m package --inputs nonsense": "no parameter called 'nonsense'",
    "package triton -m package --lora none": "has no slots for LoRAs",
    "package genai -m package --checkpoint ./none": "there is no folder ./none",
    "package web -m package -o int8": "int8 exists and is not a beamgen page",
    "parity -m none": "none is not a beamgen package",
    "parity -m package --peft lora": "--peft was given without --lora",
    "parity -m package --lora none": "has no slots for LoRAs",
    "parity -m package --checkpoint empty": "empty holds no config.json",
    "explain -m none -p x": "none is not a beamgen package",
    "explain -m package": "there has to be one prompt",
    "explain -m package -p x -o x.pdf": "neither a page nor a picture",
    "explain -m package --ids 5 --num-beams 0": "num_beams must be",
    "generate -m none -p x": "none is not a beamgen package",
    "generate -m checkpoint -p x": "it is a checkpoint, which is to be exported first",
    "generate -m package": "no prompt was given",
    "generate -m package --ids 5 --num-beams 0": "num_beams must be",
    "generate -m package --ids 5 --output-scores": "--output-scores was given, and",
    "generate -m package --ids 5 --set nonsense=1": "setting called 'nonsense'",
    "generate -m package --ids 5 --lora none": "has no slots for LoRAs",
    "generate -m package --ids 5 --catalogue none": "cannot read none",
    "inspect -m none": "there is no none",
    "lora check ./none -m package": "there is no folder ./none",
    "lora convert empty -m package": "empty holds no adapter_config.json",
    "lora list -m none": "none is not a beamgen package",
    "lora remove none -m package": "has no slots for LoRAs",
    "bench --against nobody": "there is no contestant called 'nobody'",
    "bench --workload 5": "'5' is no workload",
    "bench --turns 0": "turns is 0",
}


@pytest.fixture(scope="module")
def place(
    once: Callable[..., Path],
    checkpoints: Callable[[str], Path],
    packages: Callable[[str], Package],
) -> Path:
    """A folder in which all of these are typed."""

    def make(folder: Path) -> None:
        folder.mkdir()
        shutil.copytree(checkpoints("gpt2"), folder / "checkpoint")
        shutil.copytree(packages("gpt2").folder, folder / "package")
        export(checkpoints("gpt2"), folder / "int8", parity=False, precision="int8")
        for name, config in (
            ("t5gemma", '{"model_type": "t5gemma", "is_encoder_decoder": true}'),
            ("t5", '{"model_type": "t5", "is_encoder_decoder": true}'),
            ("mamba", '{"model_type": "mamba"}'),
            ("nameless", '{"vocab_size": 96}'),
            ("awq", '{"model_type": "phi3", "quantization_config": {"quant_method": "awq"}}'),
            ("pruned", '{"model_type": "gpt2", "pruned_heads": {"0": [1]}}'),
        ):
            (folder / name).mkdir()
            (folder / name / "config.json").write_text(config)
        (folder / "empty").mkdir()
        (folder / "lora").mkdir()
        (folder / "lora" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
        (folder / "file").write_text("text\n")
        (folder / "good.jsonl").write_text('{"prompt": "a", "completion": " b"}\n')
        (folder / "bad.jsonl").write_text('{"prompt": "a"}\n')

    return once("early-mistakes", make)


@pytest.mark.parametrize("typed", MISTAKES)
def test_it_is_named_before_torch_is_imported(typed: str, place: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", _PROBE, *shlex.split(typed)],
        cwd=place,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        text=True,
        capture_output=True,
    )
    cause, cure = result.stderr.strip().splitlines()[-2:]
    assert result.returncode == 1
    assert MISTAKES[typed] in cause
    assert cure.startswith("  fix: ")
    imported = set(result.stdout.split("IMPORTED ")[1].split())
    assert not imported & {"torch", "transformers", "onnxscript", "optimum"}
