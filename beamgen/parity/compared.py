"""What was compared with what, for reports that are read elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from beamgen.package.embedded import source_of
from beamgen.package.folder import MODEL, Package
from beamgen.parity.report import ParityReport

#: What XML 1.0 has not, not even as a reference.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Compared:
    """A parity report, and of what it is.

    Attributes:
        package: which was judged.
        report: the verdicts.
        grid: the name of the grid that made the cases.
        lora: the LoRA of the package that was compared, or None for its base model.
        seed: of the grid's random prompts.
    """

    package: Package
    report: ParityReport
    grid: str = "quick"
    lora: str | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """The package's folder, and the LoRA."""
        folder = Path(self.package.folder).resolve().name
        return f"{folder} with {self.lora}" if self.lora else folder

    @property
    def facts(self) -> dict[str, str]:
        """What was compared, in an order to be read; of folders the names alone."""
        manifest = self.package.manifest
        source = source_of(manifest)
        revision = f" at {source['revision']}" if source.get("revision") else ""
        merged = {"merged LoRA": str(source["lora"])} if source.get("lora") else {}
        forgetful = self.report.forgetful_default
        attention = self.report.attention
        chosen = {"attention": f"{attention}, for {forgetful} forgets"} if forgetful else {}
        made_with = manifest.versions.get("transformers", "unknown")
        return {
            "package": self.name,
            f"SHA-256 of {MODEL}": _hash(self.package, MODEL),
            "made of": f"{source.get('kind')} {source.get('model')}{revision}",
            **merged,
            "adapter, backend": f"{manifest.adapter}, {manifest.backend}",
            "weights": manifest.precision.name,
            "exported with transformers": made_with,
            "rules of generate": manifest.rules.release,
            "grid, seed": f"{self.grid}, {self.seed}",
            **chosen,
            **{f"compared with {name}": version for name, version in _versions().items()},
        }


def _versions() -> dict[str, str]:
    """Of what answers on either side; ONNX Runtime's distributions have several names."""
    import onnxruntime
    import torch
    import transformers

    answering = {"transformers": transformers, "torch": torch, "onnxruntime": onnxruntime}
    return {
        "beamgen": metadata.version("beamgen"),
        **{name: str(module.__version__) for name, module in answering.items()},
    }


def _hash(package: Package, name: str) -> str:
    about: dict[str, Any] = package.manifest.files.get(name, {})
    return str(about.get("sha256", "unknown"))


def printable(text: str) -> str:
    """With escapes for what a file of text had better not hold: control characters, surrogates."""
    return _UNPRINTABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
