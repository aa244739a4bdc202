"""How much memory a package takes: loaded, and in a search, estimated from its geometry.

The factors were fitted to peaks that were measured (``docs/batch.md``): ONNX Runtime keeps
several copies of what a step computes, and blocks of sizes that came before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path

from beamgen.package.folder import CONFIG, MODEL, WEIGHTS, Package
from beamgen.settings.config import ResolvedSearch

_FLOAT_BYTES = 4

#: Python, NumPy and ONNX Runtime; and what the first search adds to that.
_PROGRAM, _FIRST_SEARCH = 80 << 20, 22 << 20

#: Of the bytes of the weights: while they are loaded, and once they are, packed beside the file's.
_LOADING, _LOADED = 2.35, 2.0

#: The same where the file is mapped: of its pages the rows of tables that are read stay alone.
_LOADING_MAPPED, _LOADED_MAPPED = 1.35, 1.15

#: Tokens that a piece of a prompt has, which attention reads at once.
_PIECE = 512

#: Steps between two compactions of the cache.
_CHUNK = 8

#: What is kept of a prompt's pass; of the prompt's cache, the generated entries and the logits.
_OF_PROMPT, _OF_CACHE, _OF_ENTRIES, _OF_LOGITS = 1.3, 1.3, 2.8, 5.0

#: By which names configs of transformers tell a model's widths.
_HIDDEN = ("hidden_size", "n_embd", "d_model", "dim")
_INNER = ("intermediate_size", "n_inner", "ffn_dim", "d_ff", "decoder_ffn_dim", "encoder_ffn_dim")
_HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads", "encoder_attention_heads")


@dataclass(frozen=True)
class _Widths:
    """Of a model: the residual stream, the widest layer, and its query heads."""

    hidden: int
    inner: int
    heads: int


def loaded_bytes(package: Package) -> int:
    """What a process holds that has loaded a package and has searched nothing yet."""
    factor = _LOADED_MAPPED if WEIGHTS in package.manifest.files else _LOADED
    return int(_PROGRAM + factor * _weights(package))


def peak_bytes(package: Package, search: int) -> int:
    """What a process holds at its peak.

    Args:
        package: that it loads.
        search: ``search_bytes`` of its largest search.
    """
    factor = _LOADING_MAPPED if WEIGHTS in package.manifest.files else _LOADING
    return max(
        int(_PROGRAM + factor * _weights(package)),
        loaded_bytes(package) + _FIRST_SEARCH + search,
    )


def search_bytes(package: Package, rows: int, prompt_len: int, config: ResolvedSearch) -> int:
    """What a search takes at its peak beside the loaded package, all tokens generated.

    Either its prompt's pass is the peak, or the first compaction, which holds the prompt's cache
    twice, or its end. The entries of beams that share ancestors are shared, too; those of the
    steps since the last compaction are not. One of ONNX Runtime's operators holds the scores of
    a whole prompt, and a cache for each beam.

    Args:
        package: that is searched; one that tells nothing of its cache counts its logits alone.
        rows: prompts in the batch, B.
        prompt_len: S, padding included; of an encoder-decoder the source's.
        config: of the row with the most new tokens.
    """
    manifest, beams, new = package.manifest, config.chains, config.max_new_tokens
    logits = rows * beams * manifest.vocab_size * _FLOAT_BYTES
    kind = manifest.cache
    if kind is None:
        return int(_OF_LOGITS * logits)
    entry = kind.num_layers * kind.num_kv_heads * sum(kind.widths) * _FLOAT_BYTES
    widths = _widths(package.folder, kind.num_kv_heads, kind.head_dim)
    if manifest.backend == "contrib":
        scores = rows * widths.heads * prompt_len**2 * _FLOAT_BYTES
        cache = rows * prompt_len * entry
        grown = 2 * rows * beams * (prompt_len + new) * entry
        return max(cache + max(scores, cache * (beams - 1)), grown + int(_OF_LOGITS * logits))
    held = min(prompt_len, manifest.limits.attention_window or prompt_len)
    cache = rows * held * entry
    states = rows * beams * sum(map(prod, kind.states)) * _FLOAT_BYTES
    hidden = rows * prompt_len * (4 * widths.hidden + 2 * widths.inner) * _FLOAT_BYTES
    scores = rows * widths.heads * min(prompt_len, _PIECE) * prompt_len * _FLOAT_BYTES
    live = min(new + new // 4 + _CHUNK * beams, new * beams)
    generated = rows * live * entry
    at_prompt = _OF_PROMPT * (cache + hidden + scores)
    at_compaction = 2 * cache + logits if new > 1 else 0
    at_end = _OF_CACHE * cache + _OF_ENTRIES * generated + _OF_LOGITS * logits
    return int(states + max(at_prompt, at_compaction, at_end))


def _weights(package: Package) -> int:
    """Bytes of the model's files."""
    files = package.manifest.files
    return sum(files[name]["bytes"] for name in (MODEL, WEIGHTS) if name in files)


@lru_cache(maxsize=64)
def _widths(folder: Path, kv_heads: int, head_dim: int) -> _Widths:
    """As the package's config tells, or as many heads of queries as of keys make."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        config = {}
    told = config if isinstance(config, Mapping) else {}
    heads = _first(told, _HEADS) or kv_heads
    hidden = _first(told, _HIDDEN) or heads * head_dim
    return _Widths(hidden, _first(told, _INNER) or 4 * hidden, heads)


def _first(config: Mapping[str, object], names: tuple[str, ...]) -> int | None:
    """The first of these keys that is a number."""
    return next((v for v in map(config.get, names) if isinstance(v, int) and v > 0), None)
