"""The workflows of docs/ci.md: linted, and their commands run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.pages import ROOT, blocks
from support.warm_commands import warm_commands

FILES = {block.title: block.code for block in blocks("docs/ci.md", "yaml", titled=True)}
GITHUB, GITLAB = ".github/workflows/package.yml", ".gitlab-ci.yml"
SCHEMAS = {GITHUB: "vendor.github-workflows", GITLAB: "vendor.gitlab-ci"}
INSTALL = "pip install -r requirements.txt"


def lint(code: str, schema: str, file: Path) -> subprocess.CompletedProcess[str]:
    file.write_text(code, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)],
        text=True,
        capture_output=True,
    )


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_workflow_is_what_its_server_takes(name: str, tmp_path: Path) -> None:
    assert set(FILES) == set(SCHEMAS)
    found = lint(FILES[name], SCHEMAS[name], tmp_path / "workflow.yml")
    assert found.returncode == 0, found.stdout + found.stderr
    wrong = FILES[name].replace("run:", "rum:").replace("script:", "scrip:")
    assert lint(wrong, SCHEMAS[name], tmp_path / "wrong.yml").returncode == 1


def commands(name: str) -> list[str]:
    """What a workflow runs, without the installation, which is here already."""
    (job,) = (j for j in jobs(name).values() if "steps" in j or "script" in j)
    found = [*job.get("script", ()), *(s["run"] for s in job.get("steps", ()) if "run" in s)]
    assert found[0] == INSTALL
    return found[1:]


def jobs(name: str) -> dict[str, Any]:
    values = yaml.safe_load(FILES[name])
    return values["jobs"] if name == GITHUB else values


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEMAS)
def test_its_commands_run_and_write_what_it_keeps(
    name: str, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(checkpoints("gpt2"), tmp_path / "checkpoint")
    with warm_commands() as warm:
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(warm), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        }
        for command in commands(name):
            done = subprocess.run(
                ["bash", "-e", "-c", command],
                cwd=tmp_path, text=True, capture_output=True, env=environment,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    if name == GITHUB:
        steps = jobs(name)["package"]["steps"]
        kept = [s["with"]["path"] for s in steps if "upload" in s.get("uses", "")]
        summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
        assert summary.count("## ✅ Parity of `package`: exact") == 2
    else:
        artifacts = jobs(name)["package"]["artifacts"]
        kept = [*artifacts["paths"], *artifacts["reports"]["junit"]]
    assert all(list(tmp_path.glob(path)) for path in kept)
    assert {path.name for path in tmp_path.glob("*.xml")} == {"export.xml", "parity.xml"}
