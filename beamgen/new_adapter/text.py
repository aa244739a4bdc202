"""The file of an adapter, as a person would have written it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from beamgen.new_adapter.draft import Draft

_HEAD = '''"""{title}."""

from __future__ import annotations
{imports}
from beamgen import {imported}
{typing_only}

@register
class {adapter}Adapter(DecoderAdapter):
    """{title} of ``transformers``."""

    name = "{name}"
    model_type = "{model_type}"
    class_names = {class_names}
'''
_SIZES = """    tiny_sizes = {{
{sizes}
    }}
"""
_FOR_TYPES = "\nfrom typing import TYPE_CHECKING\n"
_TYPES = """
if TYPE_CHECKING:
    from transformers import PretrainedConfig
"""
_GEOMETRY = '''
    def kv_geometry(self, config: PretrainedConfig) -> KVGeometry:
        """Shape of the KV cache, by this config's names."""
        return KVGeometry(
{fields}
        )
'''
_POSITIONS = '''
    def position_limits(self, config: PretrainedConfig) -> PositionLimits:
        """How long a sequence may be, by this config's name."""
        return PositionLimits(max_positions={positions})
'''


def adapter_text(name: str, draft: Draft) -> str:
    """The source of an adapter's module."""
    names = ["DecoderAdapter"]
    names += ["KVGeometry"] if draft.geometry else []
    names += ["PositionLimits"] if draft.positions else []
    title = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", draft.config_class.removesuffix("Config"))
    classes = dict.fromkeys([draft.model_class, draft.backbone_class])
    listed = ", ".join(f'"{each}"' for each in classes)
    overrides = draft.geometry or draft.positions
    text = _HEAD.format(
        title=title,
        imports=_FOR_TYPES if overrides else "",
        imported=", ".join([*names, "register"]),
        typing_only=_TYPES if overrides else "",
        adapter=draft.config_class.removesuffix("Config"),
        name=name,
        model_type=draft.model_type,
        class_names=f"({listed})" if len(classes) > 1 else f"({listed},)",
    )
    if draft.sizes:
        sizes = "\n".join(f'        "{name}": {size!r},' for name, size in draft.sizes.items())
        text += _SIZES.format(sizes=sizes)
    if draft.geometry:
        text += _GEOMETRY.format(fields=_arguments(draft.geometry))
    if draft.positions:
        text += _POSITIONS.format(positions=draft.positions)
    return text


def _arguments(values: Mapping[str, object]) -> str:
    return "\n".join(f"            {name}={value}," for name, value in values.items())
