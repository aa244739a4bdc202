"""The example's adapter is found where its package is installed, and nowhere else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from beamgen import BeamgenError, find_adapter
from beamgen.default_adapter import tiny_sizes
from beamgen.new_adapter.draft import draft
from beamgen.new_adapter.text import adapter_text
from beamgen.testing import tiny_model

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "third_party_adapter"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a new environment in which the example is installed beside what this one has."""
    folder = tmp_path_factory.mktemp("third-party")
    shutil.copytree(EXAMPLE, folder / "source")
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    found = environment / "bin" / "python"
    site = subprocess.run(
        [found, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        text=True,
        capture_output=True,
    ).stdout.strip()
    # beamgen and what it needs, without the network
    Path(site, "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [sys.executable, "-m", "pip", "--python", str(found), "install", "--quiet"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation", str(folder / "source")]
    subprocess.run([*install, *offline], check=True)
    return found


def _beamgen(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [str(python), "-m", "beamgen", *arguments]
    return subprocess.run(command, text=True, capture_output=True, cwd=folder, env=environment)


def test_it_is_listed(python: Path, tmp_path: Path) -> None:
    listed = _beamgen(python, tmp_path, "list", "--json")
    assert listed.returncode == 0, listed.stderr
    rows = {row["name"]: row for row in json.loads(listed.stdout)["adapters"]}
    assert rows["olmo"]["module"] == "my_adapters.olmo"
    assert "llama" in rows
    with pytest.raises(BeamgenError):
        find_adapter("olmo")


def test_its_checkpoints_are_exported_and_exact(python: Path, tmp_path: Path) -> None:
    from transformers import OlmoConfig

    config = OlmoConfig(**tiny_sizes(OlmoConfig))
    tiny_model(config).save_pretrained(tmp_path / "checkpoint")
    done = _beamgen(python, tmp_path, "export", "-m", "checkpoint", "-o", "package")
    assert done.returncode == 0, done.stderr
    assert "exact (12 cases: 12 exact" in done.stdout
    manifest = json.loads((tmp_path / "package" / "beamgen.json").read_text())
    assert manifest["adapter"] == "olmo"


def test_it_is_what_new_adapter_writes() -> None:
    written = (EXAMPLE / "my_adapters" / "olmo.py").read_text(encoding="utf-8")
    assert written == adapter_text("olmo", draft("olmo"))
