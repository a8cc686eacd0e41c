"""Values that do not fit a parameter: given all values that are sent for it, the one to be replaced first, and its
schema, (keywords that they all fit, one that does not), or None where there is none of this kind.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from places import Offer, Schema

MISREAD: Mapping[str, Sequence[Any]] = {
    "string": (4, True, ["some"], {"value": "some"}),
    "integer": ("4", 4.5, True, [4], "four"),
    "number": ("4.5", True, [4.5], "much"),
    "boolean": ("true", 1, 0, "yes"),
    "array": ("some", {"first": ["some"]}, 4),
    "object": ("some", 4, ["some"]),
}
"""Type -> values that are mistaken for one of it."""
UNFILLED = (
    "<city>", "your_value", "TBD", "todo", "...", "[insert value]", "{{value}}", "xxx", "placeholder", "undefined",
)  # fmt: skip
MISFORMED: Sequence[tuple[str, str, Sequence[str]]] = (
    (r"\d{4}-\d\d-\d\d", "date", ("tomorrow", "2026-13-01", "2026-02-30", "3 May 2026", "2026/05/03")),
    (r"\d\d:\d\d", "time", ("noon", "25:00", "7pm", "12:60")),
    (r"[^@\s]+@[^@\s]+\.\w+", "email", ("Ada", "ada@home", "ada at example.com")),
    (r"https?://\S+", "uri", ("the page", "/index.html")),
)
"""What texts look like, the format that they have then, and texts that do not have it."""


def of_another_type(values: Sequence[Any], schema: Schema, random: Random) -> tuple[Schema, Any] | None:
    kind = schema.get("type")
    return ({}, random.choice(MISREAD[kind])) if kind in MISREAD and "enum" not in schema else None


def item_of_another_type(values: Sequence[Any], schema: Schema, random: Random) -> tuple[Schema, Any] | None:
    kind = schema.get("items", {}).get("type")
    if kind not in MISREAD or not values[0]:
        return None
    return {}, [*values[0][1:], random.choice(MISREAD[kind])]


def not_listed(values: Sequence[Any], schema: Schema, random: Random) -> tuple[Schema, Any] | None:
    if not all(isinstance(value, str) for value in values):
        return None
    listed = schema.get("enum", list(dict.fromkeys(values)))
    others = [values[0].swapcase(), values[0] + "s", "another", f" {values[0]}"]
    misfits = [other for other in others if other not in listed]
    return {"enum": listed}, random.choice(misfits)


def item_not_listed(values: Sequence[Any], schema: Schema, random: Random) -> tuple[Schema, Any] | None:
    if schema.get("items", {}).get("type") != "string" or not values[0]:
        return None
    listed = schema["items"].get("enum") or list(dict.fromkeys(item for value in values for item in value))
    return {"items": {**schema["items"], "enum": listed}}, [*values[0], "another"]


def are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def beyond(key: str, margin: int, step: int) -> Offer:
    """A bound that lies `margin` beyond all values, and a value `step` beyond the bound."""

    def offer(values: Sequence[Any], schema: Schema, random: Random) -> tuple[Schema, Any] | None:
        if not are_numbers(values) or "enum" in schema:
            return None
        outermost = min(values) if "inimum" in key else max(values)
        sign = -1 if "inimum" in key else 1
        return {key: outermost + sign * margin}, outermost + sign * (margin + step)

    return offer


def draft_4(values: Sequence[Any], schema: Schema, random: Random) -> tuple[Schema, Any] | None:
    """A bound that a flag says is not reached itself."""
    if not are_numbers(values):
        return None
    return {"maximum": max(values) + 1, "exclusiveMaximum": True}, max(values) + 1


def between(values: Sequence[Any], schema: Schema, random: Random) -> tuple[Schema, Any] | None:
    """A value between multiples: of whole numbers, else of hundredths."""
    if not are_numbers(values) or "enum" in schema:
        return None
    if any(isinstance(value, float) for value in values):
        return {"multipleOf": 0.01}, round(values[0], 2) + 0.003
    step = math.gcd(*values)
    return ({"multipleOf": step}, values[0] + 1) if step > 1 else None


def too_short(values: Sequence[Any], schema: Schema, random: Random) -> tuple[Schema, Any] | None:
    if "enum" in schema or not all(isinstance(value, str) and len(value) > 1 for value in values):
        return None
    return {"minLength": min(map(len, values))}, values[0][: min(map(len, values)) - 1].strip() or "x"


def too_long(values: Sequence[Any], schema: Schema, random: Random) -> tuple[Schema, Any] | None:
    if "enum" in schema or not all(isinstance(value, str) for value in values):
        return None
    most = max(map(len, values))
    return {"maxLength": most}, values[0] + ", and so on" * most


def too_many(values: Sequence[Any], schema: Schema, random: Random) -> tuple[Schema, Any] | None:
    if not all(isinstance(value, list) and value for value in values):
        return None
    most = max(map(len, values))
    return {"maxItems": most}, [*values[0], *[values[0][0]] * most]


def too_few(values: Sequence[Any], schema: Schema, random: Random) -> tuple[Schema, Any] | None:
    if not all(isinstance(value, list) and value for value in values):
        return None
    return {"minItems": 1}, []


def repeated(values: Sequence[Any], schema: Schema, random: Random) -> tuple[Schema, Any] | None:
    for value in values:
        if not isinstance(value, list) or not value or len(value) != len({*map(str, value)}):
            return None
    return {"uniqueItems": True}, [*values[0], random.choice(values[0])]


def of_another_look(values: Sequence[Any], schema: Schema, random: Random) -> tuple[Schema, Any] | None:
    if "enum" in schema or not all(isinstance(value, str) and value.isascii() and value for value in values):
        return None
    shapes = dict.fromkeys("".join(map(shape, re.findall(r"[A-Za-z]+|.", value, re.DOTALL))) for value in values)
    misfits = (values[0] + "!", "=" + values[0], "??")
    return {"pattern": f"^(?:{'|'.join(shapes)})$"}, random.choice(misfits)


def shape(part: str) -> str:
    """The pattern of a part of a text: which letters and digits it has is left open."""
    return "[A-Za-z]+" if part.isalpha() else r"\d" if part.isdigit() else re.escape(part)


def of_another_format(values: Sequence[Any], schema: Schema, random: Random) -> tuple[Schema, Any] | None:
    for look, name, misfits in MISFORMED:
        if all(isinstance(value, str) and re.fullmatch(look, value) for value in values):
            return {"format": name}, random.choice(misfits)
    return None


def unfilled(values: Sequence[Any], schema: Schema, random: Random) -> tuple[Schema, Any] | None:
    if schema.keys() <= {"type", "description"} and schema["type"] == "string":
        return {}, random.choice(UNFILLED)
    return None


def item_unfilled(values: Sequence[Any], schema: Schema, random: Random) -> tuple[Schema, Any] | None:
    if schema.get("items", {}).keys() <= {"type", "description"} and schema.get("items", {}).get("type") == "string":
        return {}, [*values[0][:-1], random.choice(UNFILLED)]
    return None
