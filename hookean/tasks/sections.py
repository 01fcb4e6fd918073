"""Sections of configs: a name and options on top of other ones."""

from collections.abc import Mapping
from typing import Any

import pydantic


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` on top; sections are merged key by key, a name alone replaces a section's name.

    A section that changes its name keeps none of the options of the old one.
    """
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, str):
            old = {"name": old}
        if isinstance(old, Mapping) and isinstance(value, str):
            value = {"name": value}
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            renamed = "name" in value and str(value["name"]).lower() != str(old.get("name", "")).lower()
            merged[key] = dict(value) if renamed else merge(old, value)
        else:
            merged[key] = value
    return merged


def on_default(default: Any, value: Any) -> Any:
    """Return what is given for a section: a name alone as a section, options without a name on top of the default's."""
    if isinstance(default, pydantic.BaseModel) and "name" in type(default).model_fields:
        default = {"name": default.name} | default.model_dump(exclude_unset=True)  # type: ignore[attr-defined]
    if not isinstance(default, Mapping) or "name" not in default:
        return value
    if isinstance(value, str):
        return {"name": value}
    return merge(default, value) if isinstance(value, Mapping) and "name" not in value else value
