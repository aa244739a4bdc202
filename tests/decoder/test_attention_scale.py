"""How a layer attends is asked of its own code, and what a plain attention cannot do is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from beamgen import BeamgenError
from beamgen.decoder.attention_scale import own_scale
from beamgen.decoder.traced_step import plain_attention

HEADS = (4, 2, 16)


class Layer(torch.nn.Module):
    """Of a module whose ``eager_attention_forward`` is this one's."""

    scale = 1.0
    cap: float | None = None
    sink: float | None = None


def eager_attention_forward(
    module: Layer, query: Any, key: Any, value: Any, mask: Any, **_: Any
) -> tuple[torch.Tensor, None]:
    groups = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
    scores = query @ key.transpose(-1, -2) * module.scale
    if module.cap is not None:
        scores = module.cap * torch.tanh(scores / module.cap)
    if module.sink is not None:
        sink = torch.full_like(scores[..., :1], module.sink)
        return (torch.cat([scores + mask, sink], -1).softmax(-1)[..., :-1] @ value).transpose(
            1, 2
        ), None
    return ((scores + mask).softmax(-1) @ value).transpose(1, 2), None


def _scale(scaling: float | None = None, **attributes: float) -> float:
    layer = Layer()
    for name, value in attributes.items():
        setattr(layer, name, value)
    return own_scale(layer, HEADS, scaling, {"softcap": attributes.get("cap")}, plain_attention)


@pytest.mark.parametrize("scale", [1.0, 0.25, 0.125, 3.0, 0.01, -0.5])
@pytest.mark.parametrize("handed", [None, 0.25])
def test_the_scale_is_the_one_that_the_layer_multiplies_by(
    scale: float, handed: float | None
) -> None:
    assert _scale(handed, scale=scale) == pytest.approx(scale, rel=1e-5)


def test_a_scale_that_is_handed_over_is_taken_as_it_is() -> None:
    assert _scale(0.3, scale=0.3) == 0.3


@pytest.mark.parametrize("attributes", [{"cap": 50.0}, {"cap": 20.0}, {"sink": 1.0}], ids=str)
def test_what_a_scale_cannot_do_is_refused(attributes: dict[str, float]) -> None:
    with pytest.raises(BeamgenError, match="Layer does more than scale its scores") as error:
        _scale(0.25, scale=0.25, **attributes)
    assert ("softcap 50.0" in error.value.cause) is (attributes.get("cap") == 50.0)


def test_a_layer_without_its_own_attention_is_taken_at_its_word() -> None:
    assert own_scale(torch.nn.Identity(), HEADS, None, {}, plain_attention) == 0.25
