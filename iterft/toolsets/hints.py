"""Python type hints as JSON schema. A hint that says nothing definite (`Any`, a bare `list`) is refused."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import inspect
import ipaddress
import json
import pathlib
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from iterft.setting_rules import first_line
from iterft.toolsets.docstrings import parameter_texts
from iterft.toolsets.parts import normalised

_PLAIN: Mapping[Any, Mapping[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    decimal.Decimal: {"type": "number"},
    pathlib.Path: {"type": "string"},
    uuid.UUID: {"type": "string", "format": "uuid"},
    datetime.datetime: {"type": "string", "format": "date-time"},
    datetime.date: {"type": "string", "format": "date"},
    datetime.time: {"type": "string", "format": "time"},
    ipaddress.IPv4Address: {"type": "string", "format": "ipv4"},
}
_LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Set)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_CONSTRAINTS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
}
_SIZES = {"min_length": ("minLength", "minItems"), "max_length": ("maxLength", "maxItems")}
_MAX_DEPTH = 16
_SAYS_NOTHING = "{} does not say what it holds; write list[str], dict[str, int], a dataclass, ..."
UNREADABLE = (ValueError, NameError, TypeError, AttributeError, SyntaxError)
"""What Python raises for hints, as texts or as types, that mean nothing."""


def schema_of(hint: Any, depth: int = 0) -> dict[str, Any]:
    """ValueError, or another of `UNREADABLE`, for a hint that has no schema."""
    if depth > _MAX_DEPTH:
        raise ValueError("the type refers to itself")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _annotated(schema_of(arguments[0], depth + 1), arguments[1:])
    if hint in _PLAIN:
        return dict(_PLAIN[hint])
    if isinstance(hint, typing.NewType):
        return schema_of(hint.__supertype__, depth + 1)
    if origin is typing.Literal:
        return _enum(list(arguments))
    if origin in (typing.Union, types.UnionType):
        return _union([schema_of(part, depth + 1) for part in arguments])
    if origin in (typing.Required, typing.NotRequired):
        return schema_of(arguments[0], depth + 1)
    if (origin in _LISTS or origin in _MAPPINGS) and not arguments:  # typing.List, tuple[()]
        raise ValueError(_SAYS_NOTHING.format(_name(hint)))
    if origin in _LISTS:
        return _array(origin, arguments, depth)
    if origin in _MAPPINGS:
        if arguments[0] is not str:
            raise ValueError(f"{_name(hint)}: keys of a mapping must be str")
        return {"type": "object", "additionalProperties": schema_of(arguments[1], depth + 1)}
    if hint in _MAPPINGS or hint in _LISTS or hint is Any:
        raise ValueError(_SAYS_NOTHING.format(_name(hint)))
    if isinstance(hint, type):
        return _class_schema(hint, depth)
    raise ValueError(f"{_name(hint)} has no JSON schema")


def object_schema(fields: Mapping[str, Any], optional: Mapping[str, Any], texts: Mapping[str, str], depth: int) -> Any:
    """The schema of named fields. `optional`: the default of each that may be left out, `inspect.Parameter.empty` where
    nothing is known of it. ValueError, beginning with the field, for one that has no schema."""
    properties: dict[str, Any] = {}
    for name, hint in fields.items():
        try:
            schema = schema_of(hint, depth + 1)
            if name in optional:
                schema = _with_default(schema, optional[name])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        properties[name] = {**schema, "description": texts[name]} if name in texts else schema
    required = [name for name in fields if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _annotated(schema: dict[str, Any], notes: tuple[Any, ...]) -> dict[str, Any]:
    """Texts are descriptions; objects with `ge`, `max_length`, `description`, ... (annotated_types, pydantic) count."""
    for note in notes:
        if isinstance(note, str):
            schema["description"] = note
            continue
        for part in (note, *getattr(note, "metadata", ())):
            for name, key in _CONSTRAINTS.items():
                if getattr(part, name, None) is not None:
                    schema[key] = getattr(part, name)
            for name, (of_text, of_array) in _SIZES.items():
                if getattr(part, name, None) is not None:
                    schema[of_array if schema.get("type") == "array" else of_text] = getattr(part, name)
        if isinstance(getattr(note, "description", None), str):
            schema["description"] = note.description
    return schema


def _enum(values: list[Any]) -> dict[str, Any]:
    names = {type(value) for value in values}
    if len(names) == 1 and names <= {str, int, float, bool}:
        return {**_PLAIN[names.pop()], "enum": values}
    raise ValueError(f"values {values!r} must all be texts, or all numbers of one type")


def _union(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """A value that may be None is one that may be left out: its own schema says no more than the other branch."""
    definite = [part for part in parts if part != {"type": "null"}]
    distinct = [part for at, part in enumerate(definite) if part not in definite[:at]]
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}


def _array(origin: Any, arguments: tuple[Any, ...], depth: int) -> dict[str, Any]:
    items = [schema_of(part, depth + 1) for part in arguments if part is not Ellipsis]
    if any(item != items[0] for item in items):
        raise ValueError(f"a tuple of different types ({_name(origin)}) has no single type of items")
    made: dict[str, Any] = {"type": "array", "items": items[0]}
    if origin is tuple and Ellipsis not in arguments:
        made |= {"minItems": len(items), "maxItems": len(items)}
    if origin in (set, frozenset, collections.abc.Set):
        made["uniqueItems"] = True
    return made


def _class_schema(kind: type, depth: int) -> dict[str, Any]:
    if issubclass(kind, enum.Enum):
        return _enum([member.value for member in kind])
    texts = parameter_texts(inspect.getdoc(kind) or "")
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        fields = [field for field in dataclasses.fields(kind) if field.init]
        optional = {
            field.name: inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
            for field in fields
            if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        }
        return dict(object_schema({field.name: hints[field.name] for field in fields}, optional, texts, depth))
    if typing.is_typeddict(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        required = vars(kind)["__required_keys__"]  # wrong for marks that are written as text (PEP 563)
        marks = {name: typing.get_origin(hint) for name, hint in hints.items()}
        may_lack = {
            name: inspect.Parameter.empty
            for name, mark in marks.items()
            if mark is typing.NotRequired or (name not in required and mark is not typing.Required)
        }
        return dict(object_schema(hints, may_lack, texts, depth))
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return dict(object_schema(typing.get_type_hints(kind), getattr(kind, "_field_defaults", {}), texts, depth))
    own_schema: Callable[[], Any] | None = getattr(kind, "model_json_schema", None)
    if own_schema is not None:
        try:
            schema = own_schema()
        except Exception as error:  # the library's own, of a field that JSON cannot hold
            raise ValueError(f"{_name(kind)} has no JSON schema ({first_line(error)})") from error
        return normalised(schema, schema)
    raise ValueError(f"{_name(kind)} has no JSON schema; use a dataclass, a TypedDict, an Enum or plain types")


def _with_default(schema: dict[str, Any], default: Any) -> dict[str, Any]:
    """None as a default only says that the argument may be left out. ValueError for a default that JSON cannot hold."""
    value = default.value if isinstance(default, enum.Enum) else default
    if value is None or value is inspect.Parameter.empty:
        return schema
    if isinstance(value, datetime.date | datetime.time):
        value = value.isoformat()
    if isinstance(value, tuple | set | frozenset):
        value = list(value)
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"default {value!r} is nothing that JSON can hold") from error
    return {**schema, "default": value}


def _name(hint: Any) -> str:
    return getattr(hint, "__name__", None) or str(hint)
