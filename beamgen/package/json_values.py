"""Values as JSON has them, which knows no infinity and no not-a-number."""

from __future__ import annotations

import math
from typing import Any


def without_nan(value: Any) -> Any:
    """Plain values with None for each number that JSON cannot hold."""
    if isinstance(value, dict):
        return {name: without_nan(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
