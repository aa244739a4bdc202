"""Whether a LoRA fits a package, and what does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from beamgen.errors import LoraError
from beamgen.lora.slots import A, B, Lora, Slot, leaf

_SHOWN = 3


@dataclass(frozen=True)
class FitReport:
    """What ``lora_fit`` found.

    Attributes:
        lora: the LoRA.
        slots: how many slots the package has.
        problems: one line per tensor that does not fit; empty where all do.
        notes: what is worth knowing and no obstacle.
        cure: what to do about the problems, or None.
    """

    lora: Lora
    slots: int
    problems: list[str]
    notes: list[str]
    cure: str | None

    @property
    def exit_code(self) -> int:
        """The exit code: 0 where the LoRA fits, 3 where it does not."""
        return 3 if self.problems else 0


def fit_report(lora: Lora, slots: Sequence[Slot], base: str) -> FitReport:
    """Hold a LoRA against the slots of a package made of ``base``, tensor by tensor."""
    problems, notes = misfits(lora, slots), []
    if lora.base and _last(lora.base) != _last(base):
        notes.append(f"it says that it was trained on {lora.base}, the package is of {base}")
    if not problems and len(lora.weights) < len(slots):
        notes.append("layers that it leaves out stay the base model's")
    cure = _cure(lora, slots) if problems else None
    return FitReport(lora, len(slots), problems, notes, cure)


def _last(name: str) -> str:
    """The last part of a path, of a hub id, or of ``demo:NAME``."""
    return name.rstrip("/").replace(":", "/").rpartition("/")[2].lower()


def misfits(
    lora: Lora, slots: Sequence[Slot], absent: str = "has no slot in the package"
) -> list[str]:
    """What of a LoRA does not fit, one line per tensor; empty where all does.

    Args:
        lora: the weights.
        slots: the layers there are.
        absent: what to say of a layer that is not among them.
    """
    if not slots:
        return ["the package has no slots"]
    found, by_module = [], {slot.module: slot for slot in slots}
    for module, (a, b) in lora.weights.items():
        slot = by_module.get(module)
        if slot is None:
            found.append(f"{module}.{A} {absent}")
            continue
        if a.shape[0] != slot.in_features:
            found.append(f"{module}.{A} takes {a.shape[0]} features, the layer {slot.in_features}")
        if b.shape[1] != slot.out_features:
            found.append(f"{module}.{B} gives {b.shape[1]} features, the layer {slot.out_features}")
    return found


def check_fits(lora: Lora, slots: Sequence[Slot]) -> None:
    """Refuse a LoRA that does not fit a package.

    Raises:
        LoraError: names the first tensors that do not, with the reason.
    """
    problems = misfits(lora, slots)
    if problems:
        raise refusal(f"{lora.source} does not fit", problems, _cure(lora, slots))


def _cure(lora: Lora, slots: Sequence[Slot]) -> str:
    if not slots:
        return "export the checkpoint with --lora-slots"
    layers = {slot.module for slot in slots}
    absent = set(lora.weights) - layers
    inner = {module for module in absent if "." in module}  # the head is outside of all
    if not absent or (inner and not _roots(inner) & _roots(layers)):
        return "take a LoRA that was trained on the package's base model"
    # what other layers the model has, its package does not say; its head is not of all-linear
    kinds, others = {leaf(module) for module in layers}, {leaf(module) for module in inner}
    named = {*kinds, *others} if others <= kinds else {"all-linear"}
    wanted = ",".join(sorted(named | {leaf(module) for module in absent - inner}))
    return f"if it was trained on this base model, export that with --lora-slots {wanted}"


def _roots(modules: set[str]) -> set[str]:
    """What the paths of an architecture's layers begin with."""
    return {module.partition(".")[0] for module in modules}


def refusal(what: str, problems: Sequence[str], cure: str) -> LoraError:
    """The error that tells the first problems in one line."""
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return LoraError(f"{what}: {'; '.join(problems[:_SHOWN])}{more}", cure)
