"""Everything the engine expects of an adapter."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from beamgen.adapter import DecoderAdapter, cache_keyword
from beamgen.checkpoint.checkpoint import demo_checkpoint
from beamgen.checkpoint.example_inputs import example_inputs
from beamgen.errors import AdapterError, BeamgenError, one_line
from beamgen.registry import find_adapter, is_encoder_decoder
from beamgen.testing.field_check import check_fields, compare, listed
from beamgen.testing.fields import variants
from beamgen.testing.loop_decoder import LoopDecoder, hf_logits, source_of
from beamgen.testing.models import tiny_model

_MAX_PARAMETERS = 300_000
_TOLERANCE = 1e-3
#: Of positions: some models have no end of them.
_LONGEST = 2048


def check_adapter(adapter: DecoderAdapter | str, *, quick: bool = False) -> list[str]:
    """Hold an adapter against everything the engine expects of one.

    A tiny random model is exported and searched, and each field of its config changed; no
    network, half a minute.

    Args:
        adapter: an instance, or any name it is registered under.
        quick: leave out the searches and the fields, for two seconds.

    Returns:
        One line per check, all passed.

    Raises:
        AdapterError: one error that lists every check that failed.
    """
    subject = find_adapter(adapter) if isinstance(adapter, str) else adapter
    if subject.needs is not None:
        raise AdapterError(
            f"the adapter '{subject.name}' is of a class of transformers {subject.needs}, and an "
            "older one is installed",
            f"check it where that is: pip install 'transformers=={subject.needs}.*'",
        )
    whole = _SEQ2SEQ_CHECKS if is_encoder_decoder(subject) else _CHECKS
    checks = _QUICK_CHECKS if quick else whole
    failures, passed = [], []
    for check in checks:
        line = (check.__doc__ or "").strip().splitlines()[0]
        try:
            check(subject)
        except BeamgenError as error:
            failures.append(f"{line} {error.cause}")
        except Exception as error:  # whatever an adapter's code may raise
            failures.append(f"{line} {type(error).__name__}: {one_line(error)}")
        else:
            passed.append(line)
    if failures:
        raise AdapterError(
            f"the adapter '{subject.name}' fails {len(failures)} of {len(checks)} checks: "
            + " | ".join(failures),
            "docs/architectures.md says what each method has to give",
        )
    return passed


def _check_names(adapter: DecoderAdapter) -> None:
    """Every name finds the adapter, and its classes are transformers' own."""
    import transformers

    for name in (adapter.name, adapter.model_type, *adapter.class_names):
        found = find_adapter(name, encoder_decoder=is_encoder_decoder(adapter))
        _expect(type(found) is type(adapter), f"'{name}' finds another adapter")
    _expect(bool(adapter.class_names), "class_names is empty")
    for name in adapter.class_names:
        known = hasattr(transformers, name) or not type(adapter).__module__.startswith(
            "model_adapters."
        )
        _expect(known, f"transformers has no class {name}")


def _check_tiny_config(adapter: DecoderAdapter) -> None:
    """tiny_config is of the adapter's model_type, tiny, and names its special ids."""
    config = adapter.tiny_config()
    found = config.model_type
    _expect(found == adapter.model_type, f"its model_type is '{found}'")
    size = sum(parameter.numel() for parameter in tiny_model(config).parameters())
    _expect(size <= _MAX_PARAMETERS, f"it has {size} parameters, over {_MAX_PARAMETERS}")
    _expect(adapter.kv_geometry(config).num_layers >= 2, "it has fewer than two layers")
    vocab_size = config.get_text_config(decoder=True).vocab_size
    for name in ("eos_token_id", "pad_token_id"):
        token = getattr(config, name)
        _expect(token is not None and 0 <= token < vocab_size, f"its {name} is {token}")


def _check_geometry(adapter: DecoderAdapter) -> None:
    """kv_geometry is the shape of HF's own cache, where HF keeps one."""
    import torch

    config = adapter.tiny_config()
    model, geometry = tiny_model(config), adapter.kv_geometry(config)
    with torch.no_grad():
        ids = torch.ones(1, 3, dtype=torch.long)
        given = example_inputs(config, ids)
        if config.is_encoder_decoder:  # not every encoder may be told of a cache
            read = {k: x for k, x in given.items() if k != "decoder_input_ids"}
            encoded = model.get_encoder()(**read)
            given = {"decoder_input_ids": ids, "encoder_outputs": encoded}
        output = model(**given, use_cache=True)
    cache = output.get(cache_keyword(model))
    if cache is None:  # the exported step alone shows its sizes
        return
    cache = getattr(cache, "self_attention_cache", cache)
    # with transformers 5 layers that carry states stand in it, too
    layers = [layer for layer in cache.layers if getattr(layer, "keys", None) is not None]
    _expect(len(layers) == geometry.num_layers, f"HF's cache has {len(layers)} layers")
    for stored, width in zip(("keys", "values"), geometry.widths, strict=True):
        shape = tuple(getattr(layers[0], stored).shape)
        expected = (1, geometry.num_kv_heads, 3, width)
        wrong = f"HF's cache of 3 tokens is {shape} ({stored}), kv_geometry says {expected}"
        _expect(shape == expected, wrong)


def _check_decoder(adapter: DecoderAdapter) -> None:
    """The exported step gives HF's logits, for a prompt and for two beams in one cache.

    So it does behind an encoder that reads one token: a trace holds one side of each branch.
    """
    tiny = next(variants(adapter.tiny_config()))
    with tempfile.TemporaryDirectory() as folder:
        decoder = LoopDecoder(adapter, tiny.model(), Path(folder))
    wrong = compare(decoder, tiny)
    _expect(wrong is None, str(wrong))
    if decoder.sources:
        prompt = [3, 4]
        decoder.sources = source_of(adapter.tiny_config(), 1)
        wanted = hf_logits(tiny.model(), prompt, 1)
        _close(decoder.prompt(prompt), wanted, "what follows a source of one token")


def _check_fields(adapter: DecoderAdapter) -> None:
    """It does so for every field of the config that changes HF's logits, or is refused."""
    wrong = listed(check_fields(adapter))
    _expect(not wrong, wrong)


def _check_step(adapter: DecoderAdapter) -> None:
    """The step alone gives HF's logits, for prompts padded on the right and for a next token.

    Of a model with states there is none.
    """
    import onnx_ir as ir
    import onnxruntime

    from beamgen.decoder.contract import cache_names
    from beamgen.decoder.export import export_decoder
    from beamgen.decoder.single_step import SingleStep
    from beamgen.search.one_step import build_step

    config = adapter.tiny_config()
    tiny, geometry = next(variants(config)), adapter.kv_geometry(config)
    model = tiny.model()
    if geometry.states:
        _expect_no_place(lambda: SingleStep(adapter, tiny.model()))
        return
    with tempfile.TemporaryDirectory() as folder:
        decoder = export_decoder(adapter, tiny.model(), Path(folder), SingleStep)
        proto = ir.to_proto(build_step(decoder)).SerializeToString()
    session = onnxruntime.InferenceSession(proto, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    heads, layers = geometry.num_kv_heads, geometry.num_layers
    empty = [np.zeros((2, heads, 0, width), np.float32) for width in geometry.widths] * layers
    past_names, present_names = (cache_names(n, geometry) for n in ("past_key_values", "present"))

    def run(ids: Any, positions: Any, mask: Any, past: Any) -> dict[str, Any]:
        arrays = {"input_ids": ids, "position_ids": positions, "attention_mask": mask}
        feeds = {name: np.array(values, np.int64) for name, values in arrays.items()}
        feeds |= dict(zip(past_names, past, strict=True))
        return dict(zip(names, session.run(names, feeds), strict=True))

    long, short = [5, 9, 7, 11], [6, 8]
    mask = [[1, 1, 1, 1], [1, 1, 0, 0]]
    ids, positions = [long, [*short, 3, 3]], [[0, 1, 2, 3], [0, 1, 0, 0]]
    first = run(ids, positions, mask, empty)
    step = run([[4], [10]], [[4], [2]], [[*row, 1] for row in mask], map(first.get, present_names))
    for row, prompt, token in ((0, long, 4), (1, short, 10)):
        _close(first["logits"][row, 0], hf_logits(model, prompt), f"prompt {row}'s last token")
        _close(
            step["logits"][row, 0], hf_logits(model, [*prompt, token]), f"prompt {row}'s next token"
        )


def _check_positions(adapter: DecoderAdapter) -> None:
    """HF runs a sequence as long as position_limits allows."""
    config = adapter.tiny_config()
    length = min(adapter.position_limits(config).max_positions, _LONGEST)
    hf_logits(tiny_model(config), [1] * length)


def _check_search(adapter: DecoderAdapter) -> None:
    """The whole search equals HF generate on the quick parity grid."""
    _check_parity(adapter, "loop")


def _check_contrib(adapter: DecoderAdapter) -> None:
    """In ONNX Runtime's BeamSearch it keeps that operator's rule on its quick grid.

    With states, it is refused.
    """
    if adapter.kv_geometry(adapter.tiny_config()).states:
        _expect_no_place(lambda: _check_parity(adapter, "contrib"))
    else:
        _check_parity(adapter, "contrib")


def _check_parity(adapter: DecoderAdapter, backend: str) -> None:
    from beamgen.export.export import export

    with tempfile.TemporaryDirectory() as folder:
        checkpoint, package = Path(folder, "checkpoint"), Path(folder, "package")
        tiny_model(adapter.tiny_config()).save_pretrained(checkpoint)
        report = export(checkpoint, package, model_class=adapter.name, backend=backend).parity
    assert report is not None, "export was asked for parity"
    worst = next((p for result in report.results for p in result.partings), None)
    _expect(report.exit_code == 0, f"{report.verdict}: {worst}")


def _check_demo(adapter: DecoderAdapter) -> None:
    """The demo checkpoint, where there is one, is of this architecture and loads."""
    if adapter.demo is not None:
        checkpoint = demo_checkpoint(adapter)
        checkpoint.adapter(adapter.name)
        checkpoint.load_model()


_QUICK_CHECKS: tuple[Callable[[DecoderAdapter], None], ...] = (
    _check_names,
    _check_tiny_config,
    _check_geometry,
    _check_decoder,
    _check_positions,
    _check_demo,
)
_CHECKS = (*_QUICK_CHECKS, _check_step, _check_fields, _check_search, _check_contrib)
#: Neither callers that search themselves nor ONNX Runtime's operators get an encoder.
_SEQ2SEQ_CHECKS = (*_QUICK_CHECKS, _check_fields, _check_search)


def _expect_no_place(attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except AdapterError as error:
        _expect("carries states" in error.cause, error.cause)
    else:
        _expect(False, "a model with states was not refused")


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AdapterError(otherwise, "correct the adapter: docs/architectures.md has the contract")


def _close(found: Any, expected: Any, where: str) -> None:
    difference = float(np.abs(found - expected).max())
    _expect(difference < _TOLERANCE, f"logits differ by {difference:.1e} at {where}")
