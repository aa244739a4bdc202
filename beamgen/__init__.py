"""beamgen: beam-search generation graphs from Hugging Face decoders.

Names are loaded on first use, so that ``import beamgen`` needs neither torch nor
transformers.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beamgen.adapter import DecoderAdapter as DecoderAdapter
    from beamgen.adapter import KVGeometry as KVGeometry
    from beamgen.adapter import PositionLimits as PositionLimits
    from beamgen.batch.batch import batch as batch
    from beamgen.batch.report import BatchProgress as BatchProgress
    from beamgen.batch.report import BatchReport as BatchReport
    from beamgen.bench.bench import bench as bench
    from beamgen.bench.discovery import CONTESTANTS as CONTESTANTS
    from beamgen.bench.report import BenchReport as BenchReport
    from beamgen.checkpoint.checkpoint import Checkpoint as Checkpoint
    from beamgen.checkpoint.checkpoint import open_checkpoint as open_checkpoint
    from beamgen.checkpoint.lora_source import read_lora as read_lora
    from beamgen.doctor.diagnosis import Diagnosis as Diagnosis
    from beamgen.doctor.doctor import doctor as doctor
    from beamgen.errors import BeamgenError as BeamgenError
    from beamgen.errors import BeamgenWarning as BeamgenWarning
    from beamgen.explain.explanation import Explanation as Explanation
    from beamgen.explain.run import explain as explain
    from beamgen.export.add_lora import ConvertResult as ConvertResult
    from beamgen.export.add_lora import convert_lora as convert_lora
    from beamgen.export.add_lora import lora_fit as lora_fit
    from beamgen.export.add_lora import remove_lora as remove_lora
    from beamgen.export.export import export as export
    from beamgen.export.requantize import quantize as quantize
    from beamgen.export.write import ExportResult as ExportResult
    from beamgen.formats.format import FORMATS as FORMATS
    from beamgen.formats.format import Check as Check
    from beamgen.formats.format import Packaged as Packaged
    from beamgen.formats.package_as import package_as as package_as
    from beamgen.inspect.describe import describe as describe
    from beamgen.inspect.description import Description as Description
    from beamgen.inspect.features import features as features
    from beamgen.lora.fit import FitReport as FitReport
    from beamgen.lora.slots import Lora as Lora
    from beamgen.lora.slots import Slot as Slot
    from beamgen.new_adapter.new_adapter import NewAdapter as NewAdapter
    from beamgen.new_adapter.new_adapter import new_adapter as new_adapter
    from beamgen.package.folder import Package as Package
    from beamgen.package.folder import open_package as open_package
    from beamgen.package.folder import stamp_parity as stamp_parity
    from beamgen.package.source import lora_source as lora_source
    from beamgen.package.source import open_source as open_source
    from beamgen.parity.check import check_parity as check_parity
    from beamgen.parity.compared import Compared as Compared
    from beamgen.parity.named_grids import GRIDS as GRIDS
    from beamgen.parity.report import ParityReport as ParityReport
    from beamgen.parity.report_junit import junit_report as junit_report
    from beamgen.parity.report_markdown import markdown_report as markdown_report
    from beamgen.quantization.record import Precision as Precision
    from beamgen.registry import Refusal as Refusal
    from beamgen.registry import adapters as adapters
    from beamgen.registry import broken_plugins as broken_plugins
    from beamgen.registry import find_adapter as find_adapter
    from beamgen.registry import refusals as refusals
    from beamgen.registry import refuse as refuse
    from beamgen.registry import register as register
    from beamgen.runtime.generation import Generation as Generation
    from beamgen.runtime.generator import Generator as Generator
    from beamgen.runtime.segments import Segment as Segment
    from beamgen.settings.config import SearchConfig as SearchConfig
    from beamgen.settings.constraint import Constraint as Constraint
    from beamgen.settings.setting import Setting as Setting
    from beamgen.settings.sources import FeatureBatch as FeatureBatch
    from beamgen.settings.table import SETTINGS as SETTINGS
    from beamgen.tokenizer.tokenizer import Tokenizer as Tokenizer
    from beamgen.training.finetune import finetune as finetune
    from beamgen.training.result import FinetuneResult as FinetuneResult

_HOMES = {
    "adapter": ("DecoderAdapter", "KVGeometry", "PositionLimits"),
    "batch.batch": ("batch",),
    "batch.report": ("BatchProgress", "BatchReport"),
    "bench.bench": ("bench",),
    "bench.discovery": ("CONTESTANTS",),
    "bench.report": ("BenchReport",),
    "checkpoint.checkpoint": ("Checkpoint", "open_checkpoint"),
    "checkpoint.lora_source": ("read_lora",),
    "doctor.diagnosis": ("Diagnosis",),
    "doctor.doctor": ("doctor",),
    "errors": ("BeamgenError", "BeamgenWarning"),
    "explain.explanation": ("Explanation",),
    "explain.run": ("explain",),
    "export.add_lora": ("ConvertResult", "convert_lora", "lora_fit", "remove_lora"),
    "export.export": ("export",),
    "export.requantize": ("quantize",),
    "export.write": ("ExportResult",),
    "formats.format": ("FORMATS", "Check", "Packaged"),
    "formats.package_as": ("package_as",),
    "inspect.describe": ("describe",),
    "inspect.description": ("Description",),
    "inspect.features": ("features",),
    "lora.fit": ("FitReport",),
    "lora.slots": ("Lora", "Slot"),
    "new_adapter.new_adapter": ("NewAdapter", "new_adapter"),
    "package.folder": ("Package", "open_package", "stamp_parity"),
    "package.source": ("lora_source", "open_source"),
    "parity.check": ("check_parity",),
    "parity.compared": ("Compared",),
    "parity.named_grids": ("GRIDS",),
    "parity.report": ("ParityReport",),
    "parity.report_junit": ("junit_report",),
    "parity.report_markdown": ("markdown_report",),
    "quantization.record": ("Precision",),
    "registry": (
        "Refusal",
        "adapters",
        "broken_plugins",
        "find_adapter",
        "refusals",
        "refuse",
        "register",
    ),
    "runtime.generation": ("Generation",),
    "runtime.generator": ("Generator",),
    "runtime.segments": ("Segment",),
    "settings.constraint": ("Constraint",),
    "settings.config": ("SearchConfig",),
    "settings.setting": ("Setting",),
    "settings.sources": ("FeatureBatch",),
    "settings.table": ("SETTINGS",),
    "tokenizer.tokenizer": ("Tokenizer",),
    "training.finetune": ("finetune",),
    "training.result": ("FinetuneResult",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    """Import a public name's module on first use (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'beamgen' has no attribute '{name}'")
    return getattr(importlib.import_module(f"beamgen.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]


class _PublicNames(ModuleType):
    """``beamgen.export`` is the function, though a folder of that name is imported.

    Importing a submodule binds it in its package; here a public name goes first.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME_OF and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _PublicNames
