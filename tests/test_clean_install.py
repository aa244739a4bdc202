"""`pip install .` without extras, in a new environment: generate works, and there is no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.peft_folders import save_lora

from beamgen import Generator, export, find_adapter
from beamgen.checkpoint.checkpoint import demo_checkpoint

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def test_a_base_install_generates(tmp_path: Path) -> None:
    """With BioGPT, whose tokenizer needs the most."""
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, "-c", str(ROOT / "constraints.txt"), str(ROOT)], check=True)
    for missing in ("torch", "optimum", "onnxscript", "peft"):
        found = subprocess.run([str(python), "-c", f"import {missing}"], capture_output=True)
        assert found.returncode != 0, f"{missing} belongs to an extra"

    package = tmp_path / "package"
    export(None, package, model_class="biogpt", parity=False)
    command = [str(environment / "bin" / "beamgen"), "generate", "-m", str(package)]
    found = subprocess.run(
        [*command, "-p", "aspirin is"], text=True, capture_output=True, cwd=tmp_path
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.strip() == Generator(package).generate("aspirin is")[0][0].text

    # LoRAs are checked, converted and used with neither torch nor peft
    slots = tmp_path / "slots"
    export(None, slots, model_class="biogpt", parity=False, lora_slots=[])
    lora = save_lora(demo_checkpoint(find_adapter("biogpt")).folder, tmp_path / "lora")
    for arguments in (
        ["lora", "check", str(lora), "-m", str(slots)],
        ["lora", "convert", str(lora), "-m", str(slots), "--no-parity"],
        ["generate", "-m", str(slots), "-p", "aspirin is", "--lora", "lora"],
    ):
        done = subprocess.run(
            [command[0], *arguments], text=True, capture_output=True, cwd=tmp_path
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == Generator(slots).generate("aspirin is", lora="lora")[0][0].text

    for needs_more in (["export", "--model-class", "gpt2"], ["parity", "-m", str(package)]):
        refused = subprocess.run(
            [command[0], *needs_more], text=True, capture_output=True, cwd=tmp_path
        )
        assert refused.returncode == 1
        assert "pip install 'beamgen[export]'" in refused.stderr
    assert [path.name for path in tmp_path.iterdir() if "gpt2" in path.name] == []
