"""The chart of a bench as SVG: a bar for each contestant, a panel for each workload."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from beamgen.bench.contestant import YARDSTICK
from beamgen.bench.verdict import OTHER, SAME, UNSTEADY
from beamgen.explain.markup import escape

# In pixels of the picture.
_WIDTH, _LEFT, _RIGHT = 800, 178, 224
_ROW, _BAR, _HEAD, _GAP = 26, 16, 46, 18
_TOP, _BOTTOM = 40, 84
_BARS = _WIDTH - _LEFT - _RIGHT

#: Colours by the reader's scheme.
STYLE = """
svg.bench { --ink: #1c2430; --soft: #667085; --line: #d5dae3; --ours: #2563c9;
  --yardstick: #8a94a6; --peer: #b9c2d0; --floor: #d92d20; --paper: #ffffff;
  background: var(--paper); font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; }
@media (prefers-color-scheme: dark) { svg.bench { --ink: #e6eaf0; --soft: #98a2b3;
  --line: #344054; --ours: #6ea0f5; --yardstick: #8a94a6; --peer: #535f73; --floor: #ff8078;
  --paper: #12161e; } }
svg.bench text { fill: var(--ink); }
svg.bench .title { font-size: 16px; font-weight: 600; }
svg.bench .head { font-weight: 600; }
svg.bench .soft, svg.bench .foot { fill: var(--soft); font-size: 12px; }
svg.bench .name { text-anchor: end; }
svg.bench .mine { font-weight: 600; }
svg.bench .value { font-variant-numeric: tabular-nums; }
svg.bench rect { fill: var(--peer); stroke: var(--peer); }
svg.bench rect.yardstick { fill: var(--yardstick); stroke: var(--yardstick); }
svg.bench rect.ours { fill: var(--ours); stroke: var(--ours); }
svg.bench rect.own { fill-opacity: .4; }
svg.bench rect.hollow { fill: none; stroke-dasharray: 4 3; }
svg.bench path.axis { stroke: var(--line); }
svg.bench path.floor { stroke: var(--floor); stroke-width: 2; }
""".strip()


def chart(report: Mapping[str, Any]) -> str:
    """A picture of ``BenchReport.to_json()`` that stands alone.

    The fastest bar is on top of its panel. Bars of another precision are pale, those of
    other tokens hollow; a failure is a line of text. The red line is the floor.
    """
    panels = report["workloads"]
    heights = [_HEAD + _ROW * len(panel["rows"]) + _GAP for panel in panels]
    height = _TOP + sum(heights) + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="bench" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-label="{escape(_label(report))}">',
        f"<style>{STYLE}</style>",
        f'<text class="title" x="16" y="28">Beam search: {escape(report["model"]["name"])}</text>',
    ]
    top = _TOP
    for panel, taken in zip(panels, heights, strict=True):
        parts += _panel(panel, report["settings"], top)
        top += taken
    parts += _foot(report, top)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _label(report: Mapping[str, Any]) -> str:
    lines = [
        f"{row['contestant']} {row['median_seconds']:.2f} s"
        for panel in report["workloads"]
        for row in panel["rows"]
        if row["median_seconds"] is not None
    ]
    return "Seconds of a beam search: " + ", ".join(lines)


def _panel(panel: Mapping[str, Any], settings: Mapping[str, Any], top: int) -> Iterator[str]:
    """One workload, the fastest first, what failed last."""
    last = float("inf")
    rows = sorted(panel["rows"], key=lambda row: row["median_seconds"] or last)
    longest = max((row["median_seconds"] or 0.0 for row in rows), default=0.0) or 1.0
    scale = _BARS / longest
    title = (
        f"{panel['prompt_tokens']} + {panel['new_tokens']} tokens, "
        f"{settings['num_beams']} beams, batch {settings['batch_size']}"
    )
    yield f'<text class="head" x="16" y="{top + 22}">{title}</text>'
    yield (
        f'<text class="soft" x="{_WIDTH - _RIGHT + 8}" y="{top + 22}">'
        "seconds · against transformers</text>"
    )
    start = top + _HEAD - 10
    for at, row in enumerate(rows):
        yield from _bar(row, start + at * _ROW, scale)
    yield (
        f'<path class="axis" d="M{_LEFT} {start} V{start + _ROW * len(rows)}" '
        'shape-rendering="crispEdges"/>'
    )


def _bar(row: Mapping[str, Any], y: int, scale: float) -> Iterator[str]:
    middle, mine = y + _ROW / 2 + 4.5, " mine" if row["ours"] else ""
    name = escape(row["contestant"])
    yield f'<text class="name{mine}" x="{_LEFT - 8}" y="{middle:g}">{name}</text>'
    seconds = row["median_seconds"]
    if seconds is None:
        reason = f"{row['verdict']}: {row['reason'] or ''}"
        shown = reason if len(reason) <= 88 else f"{reason[:87]}…"
        yield (
            f'<g><title>{escape(reason)}</title><text class="soft" x="{_LEFT + 8}" '
            f'y="{middle:g}">{escape(shown)}</text></g>'
        )
        return
    width = max(seconds * scale, 1.0)
    hollow = row["verdict"] in (OTHER, UNSTEADY)
    yield (
        f'<g class="bar"><title>{escape(_tooltip(row))}</title>'
        f'<rect class="{_kind(row, hollow)}" x="{_LEFT}" y="{y + (_ROW - _BAR) / 2:g}" '
        f'width="{width:.1f}" height="{_BAR}" rx="2"/></g>'
    )
    if row["floor_seconds"] is not None:
        x = _LEFT + row["floor_seconds"] * scale
        if x <= _WIDTH - _RIGHT:  # on a bad day the floor is above a bar
            yield f'<path class="floor" d="M{x:.1f} {y} V{y + _ROW}"/>'
    speed = row["times_transformers"]
    note = row["verdict"] if hollow else f"{speed:.2f} x" if speed is not None else ""
    yield (
        f'<text class="value{mine}" x="{_WIDTH - _RIGHT + 8}" y="{middle:g}">{seconds:.2f}'
        f'<tspan class="soft" x="{_WIDTH - _RIGHT + 62}">{note}</tspan>'
        f'<tspan class="soft" x="{_WIDTH - _RIGHT + 122}">'
        f"{'' if hollow else escape(_remark(row))}</tspan></text>"
    )


def _kind(row: Mapping[str, Any], hollow: bool) -> str:
    """The bar's classes: whose it is, and whether its time may be compared."""
    who = "ours" if row["ours"] else "yardstick" if row["contestant"] == YARDSTICK else "peer"
    if hollow:
        return f"{who} hollow"
    return f"{who} own" if row["precision"] != "float32" else who


def _remark(row: Mapping[str, Any]) -> str:
    return "" if row["verdict"] == SAME else str(row["verdict"])


def _tooltip(row: Mapping[str, Any]) -> str:
    lines = [
        f"{row['contestant']}, {row['precision']}: {row['median_seconds']:.3f} s "
        f"({row['min_seconds']:.3f}-{row['max_seconds']:.3f})",
        f"{row['verdict']}; {row['equal_tokens']} first tokens are transformers'",
    ]
    if row["times_floor"] is not None:
        lines.append(f"{row['times_floor']:.2f} times the floor")
    return "\n".join(lines)


def _foot(report: Mapping[str, Any], top: int) -> Iterator[str]:
    """What the marks mean, and where it was measured."""
    y = top + 8
    yield f'<rect class="ours" x="16" y="{y}" width="14" height="12" rx="2"/>'
    yield f'<text class="foot" x="36" y="{y + 10}">beamgen</text>'
    yield f'<rect class="peer own" x="104" y="{y}" width="14" height="12" rx="2"/>'
    yield f'<text class="foot" x="124" y="{y + 10}">pale: own weights or precision</text>'
    yield f'<rect class="peer hollow" x="322" y="{y}" width="14" height="12" rx="2"/>'
    yield f'<text class="foot" x="342" y="{y + 10}">hollow: other tokens</text>'
    yield f'<path class="floor" d="M488 {y - 1} V{y + 13}"/>'
    yield (
        f'<text class="foot" x="496" y="{y + 10}">floor: weights and cache read at '
        f"{report['bandwidth']['bytes_per_second'] / 1e9:.1f} GB/s</text>"
    )
    machine, settings = report["machine"], report["settings"]
    flags = [name for name, there in machine["flags"].items() if there]
    conditions = (
        f"{machine['cpu']} ({', '.join(flags) or 'flags unknown'}), "
        f"threads: {settings['threads']}; medians of {settings['turns'] * settings['runs']} runs; "
        f"{report['started'][:10]}"
    )
    yield f'<text class="foot" x="16" y="{y + 36}">{escape(conditions)}</text>'
    yield f'<text class="foot" x="16" y="{y + 56}">{escape(_versions(report))}</text>'


def _versions(report: Mapping[str, Any]) -> str:
    """Versions of beamgen, of what it runs on, and of packages that contestants are named after."""
    names = {row["contestant"] for panel in report["workloads"] for row in panel["rows"]}
    shown = ["beamgen", YARDSTICK, "onnxruntime"]
    shown += [package for package in report["versions"] if package in names]
    known = {name: report["versions"].get(name) for name in shown}
    return ", ".join(f"{name} {version}" for name, version in known.items() if version)
