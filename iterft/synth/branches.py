"""Schemas of which a part says only that the value may be null: people never say that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iterft.json_schema import types_of


def definite(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema without null, and without an `anyOf` of one branch: `anyOf: [boolean, null]` is a boolean."""
    made = dict(schema)
    if isinstance(made.get("enum"), list) and any(value is not None for value in made["enum"]):
        made["enum"] = [value for value in made["enum"] if value is not None]
    branches = made.get("anyOf")
    if isinstance(branches, list):
        left = [branch for branch in branches if types_of(branch) != ["null"]]
        if len(left) == 1:
            del made["anyOf"]
            return definite({**made, **left[0]})
    names = types_of(made)
    if "null" in names and len(names) > 1:
        names = [name for name in names if name != "null"]
        made["type"] = names[0] if len(names) == 1 else names
        made.pop("nullable", None)
    return made


def may_be_null(schema: Mapping[str, Any]) -> bool:
    """Whether null is one of the values."""
    branches = schema.get("anyOf")
    ways = [schema, *(branches if isinstance(branches, list) else ())]
    return any("null" in types_of(way) for way in ways)


def is_flag(schema: Mapping[str, Any]) -> bool:
    """Whether the value is true or false, or left out: a query names it and whether it holds."""
    own = definite(schema)
    return types_of(own) == ["boolean"] and {True, False} <= {*own.get("enum", (True, False))}
