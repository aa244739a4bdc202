"""beamgen: beam-search generation graphs from Hugging Face decoders.

Names are loaded on first use, so that ``import beamgen`` needs neither torch nor
transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beamgen.adapter import DecoderAdapter as DecoderAdapter
    from beamgen.adapter import KVGeometry as KVGeometry
    from beamgen.adapter import PositionLimits as PositionLimits
    from beamgen.benchmark import CONTESTANTS as CONTESTANTS
    from beamgen.benchmark import BenchReport as BenchReport
    from beamgen.benchmark import bench as bench
    from beamgen.catalogue import Catalogue as Catalogue
    from beamgen.checkpoint import Checkpoint as Checkpoint
    from beamgen.checkpoint import open_checkpoint as open_checkpoint
    from beamgen.description import Description as Description
    from beamgen.description import describe as describe
    from beamgen.errors import BeamgenError as BeamgenError
    from beamgen.explanation import Explanation as Explanation
    from beamgen.explanation import explain as explain
    from beamgen.explanation import page as page
    from beamgen.explanation import svg as svg
    from beamgen.formats import FORMATS as FORMATS
    from beamgen.formats import Check as Check
    from beamgen.formats import Packaged as Packaged
    from beamgen.formats import package_as as package_as
    from beamgen.lora.convert import ConvertResult as ConvertResult
    from beamgen.lora.convert import convert_lora as convert_lora
    from beamgen.lora.convert import remove_lora as remove_lora
    from beamgen.lora.fit import FitReport as FitReport
    from beamgen.lora.fit import lora_fit as lora_fit
    from beamgen.lora.slots import Lora as Lora
    from beamgen.lora.slots import Slot as Slot
    from beamgen.lora.source import read_lora as read_lora
    from beamgen.package import Package as Package
    from beamgen.package import open_package as open_package
    from beamgen.package import stamp_parity as stamp_parity
    from beamgen.parity import GRIDS as GRIDS
    from beamgen.parity import ParityReport as ParityReport
    from beamgen.parity import check_parity as check_parity
    from beamgen.pipeline import ExportResult as ExportResult
    from beamgen.pipeline import export as export
    from beamgen.quantization.again import quantize as quantize
    from beamgen.quantization.precision import Precision as Precision
    from beamgen.registry import adapters as adapters
    from beamgen.registry import broken_plugins as broken_plugins
    from beamgen.registry import find_adapter as find_adapter
    from beamgen.registry import register as register
    from beamgen.runtime import Generation as Generation
    from beamgen.runtime import Generator as Generator
    from beamgen.search_config import SearchConfig as SearchConfig
    from beamgen.sources import lora_source as lora_source
    from beamgen.sources import open_source as open_source
    from beamgen.training import FinetuneResult as FinetuneResult
    from beamgen.training import finetune as finetune

_HOMES = {
    "adapter": ("DecoderAdapter", "KVGeometry", "PositionLimits"),
    "benchmark": ("CONTESTANTS", "BenchReport", "bench"),
    "catalogue": ("Catalogue",),
    "checkpoint": ("Checkpoint", "open_checkpoint"),
    "description": ("Description", "describe"),
    "errors": ("BeamgenError",),
    "explanation": ("Explanation", "explain", "page", "svg"),
    "formats": ("FORMATS", "Check", "Packaged", "package_as"),
    "lora.convert": ("ConvertResult", "convert_lora", "remove_lora"),
    "lora.fit": ("FitReport", "lora_fit"),
    "lora.slots": ("Lora", "Slot"),
    "lora.source": ("read_lora",),
    "package": ("Package", "open_package", "stamp_parity"),
    "parity": ("GRIDS", "ParityReport", "check_parity"),
    "pipeline": ("ExportResult", "export"),
    "quantization.again": ("quantize",),
    "quantization.precision": ("Precision",),
    "registry": ("adapters", "broken_plugins", "find_adapter", "register"),
    "runtime": ("Generation", "Generator"),
    "search_config": ("SearchConfig",),
    "sources": ("lora_source", "open_source"),
    "training": ("FinetuneResult", "finetune"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    """Import a public name's module on first use (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'beamgen' has no attribute '{name}'")
    try:
        return getattr(importlib.import_module(f"beamgen.{_HOME_OF[name]}"), name)
    except ModuleNotFoundError as error:
        from beamgen.errors import MissingExtraError

        raise MissingExtraError(f"beamgen.{name}", "export", str(error.name)) from error


def __dir__() -> list[str]:
    return [*globals(), *__all__]
