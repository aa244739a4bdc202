"""`pip install .` without extras, in a new environment: generate works without torch and HF."""

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
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"

    def install(what: str) -> None:
        pip = [str(python), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
        subprocess.run([*pip, what], check=True)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        beamgen = str(environment / "bin" / "beamgen")
        return subprocess.run([beamgen, *arguments], text=True, capture_output=True, cwd=tmp_path)

    install(str(ROOT))
    for missing in ("torch", "transformers", "optimum", "onnxscript", "peft", "sacremoses"):
        found = subprocess.run([str(python), "-c", f"import {missing}"], capture_output=True)
        assert found.returncode != 0, f"{missing} belongs to an extra"

    package = tmp_path / "gpt2"
    export(None, package, model_class="gpt2", parity=False)
    found = run("generate", "-m", str(package), "-p", "a person who")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.strip() == Generator(package).generate("a person who")[0][0].text
    for command in (["explain", "-p", "a person who"], ["inspect"]):
        found = run(*command, "-m", str(package))
        assert (found.returncode, found.stderr) == (0, "")

    # LoRAs are checked, converted and used with neither torch nor peft
    slots = tmp_path / "slots"
    export(None, slots, model_class="gpt2", parity=False, lora_slots=[])
    lora = save_lora(demo_checkpoint(find_adapter("gpt2")).folder, tmp_path / "lora")
    for arguments in (
        ["lora", "check", str(lora), "-m", str(slots)],
        ["lora", "convert", str(lora), "-m", str(slots), "--no-parity"],
        ["generate", "-m", str(slots), "-p", "a person who", "--lora", "lora"],
    ):
        done = run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
    adapted = Generator(slots).generate("a person who", lora="lora")
    assert done.stdout.strip() == adapted[0][0].text

    for needs_more in (["export", "--model-class", "phi3"], ["parity", "-m", str(package)]):
        refused = run(*needs_more)
        assert refused.returncode == 1
        assert "pip install 'beamgen[export]'" in refused.stderr
    assert [path.name for path in tmp_path.iterdir() if "phi3" in path.name] == []

    # BioGPT's tokenizer needs more than others
    package = tmp_path / "biogpt"
    export(None, package, model_class="biogpt", parity=False)
    generate = ("generate", "-m", str(package), "-p", "aspirin is")
    refused = run(*generate)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "sacremoses" in refused.stderr
    assert "pip install 'beamgen[biogpt]'" in refused.stderr
    install(f"{ROOT}[biogpt]")
    found = run(*generate)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.strip() == Generator(package).generate("aspirin is")[0][0].text
