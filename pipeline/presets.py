"""Parameters that a ``preset`` field stands for, filled in before validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, model_validator


class WithPresets(BaseModel):
    """Base of stages and variants; `presets` maps a name to the values it stands for.

    The key holds what really counts, because the values are filled in first; a value given
    by name wins over the preset's.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _fill_preset(cls, values: Any) -> Any:
        if cls.presets and isinstance(values, dict):
            name = values.get("preset", cls.model_fields["preset"].default)
            return _merged(cls.presets.get(name, {}), values)
        return values


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both mappings, `over` winning value by value, also inside of nested mappings."""
    out = {**under, **over}
    for name, value in over.items():
        if isinstance(value, Mapping) and isinstance(under.get(name), Mapping):
            out[name] = _merged(under[name], value)
    return out


def filled_paths(presets: Mapping[str, Any], prefix: str = "") -> set[str]:
    """Dotted paths of the values that presets stand for; `presets` maps names to values."""
    found: set[str] = set()
    for values in presets.values():
        found |= _paths(values, prefix)
    return found


def _paths(values: Mapping[str, Any], prefix: str) -> set[str]:
    found: set[str] = set()
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        found |= _paths(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}"}
    return found
