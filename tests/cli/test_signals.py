"""A command that is asked to end cleans up behind itself."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

#: A command that has begun a package, and says so.
_BUSY = """
import beamgen
from pathlib import Path
from beamgen.cli import main
from beamgen.package.folder import new_package_folder

def export(model, output, **options):
    with new_package_folder(Path(output), force=False) as folder:
        (folder / "model.onnx").write_text("half")
        print("ready", flush=True)
        while True:
            signal.pause()

beamgen.export = export
main(["export", "--model-class", "gpt2", "-o", "deep/pk"])
"""


def _stopped(folder: Path, *numbers: signal.Signals, ignored: str = "") -> tuple[int, str]:
    """The exit code and what was said, of a command that gets these signals."""
    # whatever the tests run under, nohup too
    code = f"import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n{ignored}\n{_BUSY}"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert list(folder.iterdir()) == [folder / "deep"]
        for number in numbers:
            process.send_signal(number)
        _, said = process.communicate()
    return process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_ends_with_the_shell_s_exit_code(number: signal.Signals, tmp_path: Path) -> None:
    assert _stopped(tmp_path, number) == (128 + number, f"error: stopped by {number.name}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_second_signal_does_not_keep_it_from_that(tmp_path: Path) -> None:
    code, _ = _stopped(tmp_path, signal.SIGTERM, signal.SIGTERM)
    assert code == 143


def test_under_nohup_it_goes_on(tmp_path: Path) -> None:
    ignored = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    code, said = _stopped(tmp_path, signal.SIGHUP, signal.SIGTERM, ignored=ignored)
    assert (code, said) == (143, "error: stopped by SIGTERM\n")
    assert list(tmp_path.iterdir()) == []


def test_a_host_s_own_handler_stays() -> None:
    from beamgen.cli._signals import orderly_end

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        mine = signal.getsignal(signal.SIGTERM)
        with orderly_end():
            assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with orderly_end():
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
