"""Pages of mapped weights do not stay in the process."""

from __future__ import annotations

import gc
import mmap
import re
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest

from beamgen import Generator, export
from beamgen.runtime.mapped import let_pages_go, pages_let_go
from beamgen.runtime.session import session_of

SMAPS = Path("/proc/self/smaps")
pytestmark = pytest.mark.skipif(not SMAPS.exists(), reason="Linux tells what is resident")


def _resident(file: Path, kind: str = "Rss") -> list[int]:
    """Kilobytes of each map of a file."""
    pattern = rf"{re.escape(str(file))}\n(?:\w+: .*\n)*?{kind}: +(\d+) kB"
    return [int(each) for each in re.findall(pattern, SMAPS.read_text())]


def test_pages_that_were_read_are_let_go_and_come_back(tmp_path: Path) -> None:
    file = tmp_path / "some weights"
    size = 8 << 20
    file.write_bytes(bytes(range(256)) * (size // 256))
    link = tmp_path / "link"
    link.symlink_to(file)
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as read:
        assert sum(read[::4096]) == 0
        assert _resident(file) == [size >> 10]
        let_pages_go(tmp_path / "another")
        assert _resident(file) == [size >> 10]
        let_pages_go(link)
        assert _resident(file) == [0]
        with pages_let_go(file):
            assert sum(read[1::4096]) == size // 4096
        assert _resident(file) == [0]
        assert read[255] == 255


def test_a_loaded_package_holds_no_page_of_its_mapped_weights(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    package = export(
        checkpoints("gpt2"), tmp_path / "package", external_data=True, parity=False
    ).package
    plain = session_of(ir.load(package.model), package.folder)
    Generator(package, session=plain).generate([[5, 6, 7]])
    written = _resident(package.folder / "model.onnx.data", "Anonymous")
    assert written, "ONNX Runtime maps the file"
    assert not any(written), "what it wrote would be lost"
    del plain
    gc.collect()
    generator = Generator(package)
    resident = _resident(package.folder / "model.onnx.data")
    assert resident, "ONNX Runtime keeps the map"
    assert not any(resident)
    assert generator.generate([[5, 6, 7]])
