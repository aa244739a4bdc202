"""An architecture without an adapter: would the default adapter do?"""

from __future__ import annotations

import os

from beamgen.checkpoint.checkpoint import read_checkpoint
from beamgen.checkpoint.lora_source import is_peft
from beamgen.checkpoint.resolve import resolve
from beamgen.default_adapter import DEFAULT, DefaultAdapter
from beamgen.errors import AdapterError, BeamgenError, NoAdapterError, one_line
from beamgen.export.miniature import compare_small
from beamgen.export.request import ExportOptions
from beamgen.parity.report import Verdict
from beamgen.settings.rules import installed_rules


def with_default_tried(
    error: NoAdapterError, model: str | os.PathLike[str] | None, options: ExportOptions
) -> AdapterError:
    """The error with what came of the default adapter, on a small random model of the config.

    Args:
        error: as it was raised for the checkpoint.
        model: as ``export`` was asked.
        options: likewise.
    """
    named = options.get("model_class") is not None
    if named or model is None or is_peft(model):
        return error
    try:
        files = resolve(
            model,
            DEFAULT,
            revision=options.get("revision"),
            trust_remote_code=options.get("trust_remote_code", False),
        )
        checkpoint = read_checkpoint(files, options.get("ignore_unread", ()))
    except BeamgenError as unread:
        return AdapterError(f"{error.cause}; {unread.cause}", unread.cure)
    cause, model_type = error.cause, checkpoint.config.model_type
    if checkpoint.config.is_encoder_decoder:  # which the default adapter does not know
        return error
    write_one = (
        f"`beamgen new-adapter NAME --from {model_type}` writes one to begin with, "
        "docs/adding-an-architecture.md goes on"
    )
    try:
        adapter = DefaultAdapter(checkpoint.config.get_text_config())
        report = compare_small(checkpoint, adapter, installed_rules())
    except Exception as refused:  # whatever a model's code, or the trace of it, may raise
        reason = refused.cause if isinstance(refused, BeamgenError) else one_line(refused)
        return AdapterError(f"{cause}, and the default adapter does not fit: {reason}", write_one)
    exact, cases = report.count(Verdict.EXACT), len(report.results)
    told = f"a small random model of this config, as it searches it: exact in {exact} of {cases}"
    if not report.verdict.agrees:
        return AdapterError(f"{cause}, and the default adapter does not fit {told}", write_one)
    return AdapterError(
        cause, f"pass --adapter {DEFAULT}, which fits {told} cases; parity will judge the file"
    )
