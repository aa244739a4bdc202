"""What is asked of a training is checked before anything heavy is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.trainings import EXAMPLES

from beamgen import finetune

DATA = str(EXAMPLES / "drugs.jsonl")


def test_an_option_that_there_is_not_is_refused_as_python_does() -> None:
    with pytest.raises(TypeError, match=r"finetune\(\) got an unexpected keyword argument 'ranks'"):
        finetune(model_class="biogpt", ranks=8)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["--data", DATA, "--rank", "0"], "rank 0 must be 1 or more"),
        (["--data", "nowhere.jsonl", "--method", "qlora"], "cannot read nowhere.jsonl"),
        ([], "no training data was named"),
        (["--data", DATA, "-o", str(EXAMPLES)], "is not a PEFT folder"),
    ],
)
def test_a_mistake_is_answered_before_torch_is_imported(
    arguments: list[str], cause: str, tmp_path: Path
) -> None:
    code = (
        "import sys; from beamgen.cli import main\n"
        "try: main()\n"
        "finally: print(*sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "finetune", "--model-class", "biogpt", *arguments],
        text=True,
        capture_output=True,
        cwd=tmp_path,
    )
    assert result.returncode == 1
    assert cause in result.stderr
    assert result.stdout.split() == []
