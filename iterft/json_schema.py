"""JSON schema as tools use it: what is wrong with a schema, and what is wrong with a value under one.

Faults have a reason to count by, the path of the field they are about (`filters.tags[]`), and a detail for people.
BFCL's names of types ("dict", "float", "tuple", "any") are read too. Not a complete validator: keywords that no fault
is named for (`not`, `if`, `patternProperties`, ...) let everything pass.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

TYPES: Mapping[str, str] = {
    **{name: name for name in ("string", "integer", "number", "boolean", "array", "object", "null")},
    "dict": "object",
    "float": "number",
    "tuple": "array",
    "any": "any",
}
"""What a `type` may say -> what it means."""

_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_SIZES = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_PAIRS = (("minimum", "maximum"), *zip(_SIZES[::2], _SIZES[1::2], strict=True))
_OPEN_PAIRS = (
    ("minimum", "exclusiveMaximum"),
    ("exclusiveMinimum", "maximum"),
    ("exclusiveMinimum", "exclusiveMaximum"),
)
_NOTHING: frozenset[str] = frozenset()
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_DURATION = re.compile(r"P(?!$)(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?!$)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?)")
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?")


class SchemaFault(NamedTuple):
    """What is wrong, where, and with what."""

    reason: str
    path: str
    detail: str

    def __str__(self) -> str:
        return f"{self.path or 'the schema'}: {self.reason.replace('_', ' ')} ({self.detail})"


def schema_faults(
    schema: Any, path: str = "", root: Any = None, known: frozenset[str] = _NOTHING
) -> Iterator[SchemaFault]:
    """What is wrong with the schema of a value, its own faults first. `root`: the document that `$ref` is read in;
    `known`: the fields that a schema of which this is an alternative or a part declares."""
    root = schema if root is None else root
    if not isinstance(schema, Mapping):
        yield SchemaFault("not_a_schema", path, f"{_shown(schema)} is no object")
        return
    faults = list(_faults_but_default(schema, path, root, known | _fields_of(schema, root)))
    yield from faults
    if not faults and schema.get("default") is not None:
        fault = next(value_faults(_whole(schema["default"]), schema, path, root, known), None)
        if fault:
            yield SchemaFault("default_misfit", path, f"{_shown(schema['default'])}: {fault.reason}")


def _faults_but_default(
    schema: Mapping[str, Any], path: str, root: Any, known: frozenset[str]
) -> Iterator[SchemaFault]:
    if "$ref" in schema and referred(schema["$ref"], root) is None:
        yield SchemaFault("unresolved_reference", path, _shown(schema["$ref"]))
    yield from _type_faults(schema, path)
    yield from _enum_faults(schema, path)
    yield from _bound_faults(schema, path)
    yield from _property_faults(schema, path, root, known)
    for key in ("items", "additionalProperties"):
        inner = schema.get(key)
        if inner is not None and not isinstance(inner, bool | list):  # a list: a schema for each place
            yield from schema_faults(inner, f"{path}[]" if key == "items" else f"{path}.*", root)
    for key in ("anyOf", "oneOf", "allOf"):
        branches = schema.get(key) or ()
        for branch in branches if isinstance(branches, list | tuple) else [branches]:
            yield from schema_faults(branch, path, root, known)
    for key in ("$defs", "definitions"):  # what a reference points to
        inner = schema.get(key)
        for name, definition in inner.items() if isinstance(inner, Mapping) else ():
            yield from schema_faults(definition, f"{path}{key}.{name}", root)


def value_faults(
    value: Any, schema: Any, path: str = "", root: Any = None, known: frozenset[str] = _NOTHING
) -> Iterator[SchemaFault]:
    """What is wrong with a value under a schema that has no faults itself. No type, or "any", allows everything.
    `root` and `known` as in `schema_faults`."""
    root = schema if root is None else root
    if not isinstance(schema, Mapping):
        return
    if "$ref" in schema:
        yield from value_faults(value, referred(schema["$ref"], root) or {}, path, root, known)
        return
    wanted = types_of(schema)
    if wanted and not any(is_of_type(value, name) for name in wanted):
        yield SchemaFault("wrong_type", path, f"{_shown(value)} is not of type {' or '.join(wanted)}")
        return
    enum = schema.get("enum")
    if isinstance(enum, list) and enum and not any(_same(value, each) for each in enum):
        yield SchemaFault("not_in_enum", path, f"{_shown(value)} is none of {_shown(enum)}")
    if isinstance(value, Mapping):
        yield from object_faults(value, schema, path, root, known)
        return
    yield from _part_faults(value, schema, path, root, known)
    if isinstance(value, str):
        yield from _text_faults(value, schema, path)
    elif is_number(value):
        yield from _number_faults(value, schema, path)
    elif isinstance(value, list):
        yield from _array_faults(value, schema, path, root)


def object_faults(
    value: Mapping[str, Any], schema: Mapping[str, Any], path: str, root: Any, known: frozenset[str] = _NOTHING
) -> Iterator[SchemaFault]:
    """Fields that are missing, unknown, or wrong. A schema that lists no properties knows every field."""
    known |= _fields_of(schema, root)
    yield from _part_faults(value, schema, path, root, known)
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    for name in schema.get("required") or ():
        if name not in value:
            yield SchemaFault("missing_parameter", inside(path, name), "it is required")
    if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value)):
        yield SchemaFault("wrong_length", path, f"{_shown(value)} has {len(value)} fields")
    other = schema.get("additionalProperties", not properties)
    for name, item in value.items():
        if name in properties:
            yield from value_faults(item, properties[name], inside(path, name), root)
        elif isinstance(other, Mapping):
            yield from value_faults(item, other, inside(path, name), root)
        elif not other and name not in known:
            fields = ", ".join(sorted(known)) or "none"
            yield SchemaFault("unknown_parameter", inside(path, name), f"known are {fields}")


def _part_faults(
    value: Any, schema: Mapping[str, Any], path: str, root: Any, known: frozenset[str]
) -> Iterator[SchemaFault]:
    """What is wrong with a value under `anyOf`, `oneOf` and `allOf`."""
    branches = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(branches, list) and branches:
        misfits = [next(value_faults(value, branch, path, root, known), None) for branch in branches]
        reasons = {fault.reason for fault in misfits if fault}
        if None not in misfits:
            reason = "missing_parameter" if reasons == {"missing_parameter"} else "wrong_type"
            yield SchemaFault(reason, path, f"{_shown(value)} fits none of {len(branches)} alternatives")
    for part in schema.get("allOf") or ():
        yield from value_faults(value, part, path, root, known)


def _fields_of(schema: Any, root: Any, depth: int = 4) -> frozenset[str]:
    """The fields that a schema declares, itself or in its alternatives and parts."""
    if depth and isinstance(schema, Mapping) and "$ref" in schema:
        return _fields_of(referred(schema["$ref"], root), root, depth - 1)
    if not depth or not isinstance(schema, Mapping):
        return _NOTHING
    properties = schema.get("properties")
    fields = frozenset(properties) if isinstance(properties, Mapping) else _NOTHING
    listed = [schema[key] for key in ("anyOf", "oneOf", "allOf") if isinstance(schema.get(key), list | tuple)]
    parts = [part for each in listed for part in each]
    return fields.union(*(_fields_of(part, root, depth - 1) for part in parts)) if parts else fields


def types_of(schema: Mapping[str, Any]) -> list[str]:
    """The types allowed, in JSON schema's words; [] where none is declared, one is unknown, or "any" is."""
    declared = schema.get("type")
    names = declared if isinstance(declared, list) else [declared]
    known = [TYPES.get(name, "any") if isinstance(name, str) else "any" for name in names]
    if "any" in known:
        return []
    return [*known, "null"] if schema.get("nullable") is True else known


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_of_type(value: Any, name: str) -> bool:
    """A whole number may stand for a number; a boolean for nothing but a boolean."""
    match name:
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return is_number(value)
        case "boolean":
            return isinstance(value, bool)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, Mapping)
        case _:
            return value is None


def referred(pointer: Any, root: Any) -> Any:
    """What a `$ref` such as "#/$defs/Address" points to in `root`; None where it points to nothing."""
    if not isinstance(pointer, str) or not pointer.startswith("#/"):
        return None
    found = root
    for part in pointer[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found


def inside(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _type_faults(schema: Mapping[str, Any], path: str) -> Iterator[SchemaFault]:
    declared = schema.get("type")
    for name in declared if isinstance(declared, list) else [] if declared is None else [declared]:
        if not isinstance(name, str) or name not in TYPES:
            yield SchemaFault("unknown_type", path, f"{_shown(name)} is none of {', '.join(TYPES)}")


def _enum_faults(schema: Mapping[str, Any], path: str) -> Iterator[SchemaFault]:
    if "enum" not in schema:
        return
    enum = schema["enum"]
    if not isinstance(enum, list) or not enum:
        yield SchemaFault("malformed_enum", path, f"{_shown(enum)} is no list of values")
        return
    if any(_same(one, other) for at, one in enumerate(enum) for other in enum[:at]):
        yield SchemaFault("malformed_enum", path, f"a value is listed twice in {_shown(enum)}")
    wanted = types_of(schema)
    for value in enum:
        if wanted and value is not None and not any(is_of_type(value, name) for name in wanted):
            yield SchemaFault("enum_of_another_type", path, f"{_shown(value)} is not of type {' or '.join(wanted)}")


def _bound_faults(schema: Mapping[str, Any], path: str) -> Iterator[SchemaFault]:
    for key in (each for each in (*_BOUNDS, *_SIZES) if each in schema):
        bound = schema[key]
        is_flag = isinstance(bound, bool) and key.startswith("exclusive")  # draft 4
        is_typed = is_of_type(bound, "integer" if key in _SIZES else "number")
        is_too_low = is_typed and ((key in _SIZES and bound < 0) or (key == "multipleOf" and bound <= 0))
        if (not is_typed and not is_flag) or is_too_low:
            yield SchemaFault("malformed_bound", path, f"{key} is {_shown(bound)}")
            return
    for low, high in _PAIRS:
        if low in schema and high in schema and schema[low] > schema[high]:
            yield SchemaFault("crossed_bounds", path, f"{low} {schema[low]} is above {high} {schema[high]}")
    for low, high in _OPEN_PAIRS:
        least, most = schema.get(low, False), schema.get(high, False)  # a flag is no bound itself
        if not isinstance(least, bool) and not isinstance(most, bool) and least >= most:
            yield SchemaFault("crossed_bounds", path, f"nothing lies between {low} {least} and {high} {most}")
    if "pattern" in schema and _compiled(schema["pattern"]) is None:
        yield SchemaFault("malformed_pattern", path, f"{_shown(schema['pattern'])} is no regular expression")


def _property_faults(schema: Mapping[str, Any], path: str, root: Any, known: frozenset[str]) -> Iterator[SchemaFault]:
    properties = schema.get("properties", {})
    if not isinstance(properties, Mapping):
        yield SchemaFault("malformed_properties", path, f"{_shown(properties)} is no object")
        return
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        yield SchemaFault("malformed_required", path, f"{_shown(required)} is no list of names")
    else:
        for name in required:
            if name not in known:
                yield SchemaFault("undeclared_required", inside(path, name), "required, but not among the properties")
    for name, inner in properties.items():
        if not name or name != name.strip():
            yield SchemaFault("nameless_parameter", path, f"{_shown(name)} is no name")
        yield from schema_faults(inner, inside(path, name), root)


def _text_faults(value: str, schema: Mapping[str, Any], path: str) -> Iterator[SchemaFault]:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        yield SchemaFault("wrong_length", path, f"{_shown(value)} has {len(value)} characters")
    pattern = _compiled(schema["pattern"]) if "pattern" in schema else None
    if pattern and not pattern.search(value):
        yield SchemaFault("pattern_mismatch", path, f"{_shown(value)} does not match {schema['pattern']}")
    fits = FORMATS.get(str(schema.get("format")))
    if fits and not fits(value):
        yield SchemaFault("format_mismatch", path, f"{_shown(value)} is no {schema['format']}")


def is_multiple(value: float, step: float) -> bool:
    """Whether the value is a multiple of the step, but for what binary fractions make of decimal ones."""
    return abs(value / step - round(value / step)) <= 1e-9


def _number_faults(value: float, schema: Mapping[str, Any], path: str) -> Iterator[SchemaFault]:
    low, high, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if (
        (low is not None and (value < low or (above is True and value == low)))
        or (high is not None and (value > high or (below is True and value == high)))
        or (above is not None and above is not True and above is not False and value <= above)
        or (below is not None and below is not True and below is not False and value >= below)
    ):
        yield SchemaFault("out_of_bounds", path, _shown(value))
    if step and not is_multiple(value, step):
        yield SchemaFault("not_a_multiple", path, f"{_shown(value)} is no multiple of {step}")


def _array_faults(value: list[Any], schema: Mapping[str, Any], path: str, root: Any) -> Iterator[SchemaFault]:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        yield SchemaFault("wrong_length", path, f"{_shown(value)} has {len(value)} items")
    if schema.get("uniqueItems") is True and any(_same(one, two) for at, one in enumerate(value) for two in value[:at]):
        yield SchemaFault("repeated_items", path, _shown(value))
    for item in value:
        yield from value_faults(item, schema.get("items"), f"{path}[]", root)


def _whole(value: Any) -> Any:
    """1.0 is a whole number to JSON schema, though not to who compares calls."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _same(one: Any, other: Any) -> bool:
    """Equality that tells true from 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


@lru_cache(maxsize=4096)
def _compiled_text(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern)
    except re.error:
        return None


def _compiled(pattern: Any) -> re.Pattern[str] | None:
    return _compiled_text(pattern) if isinstance(pattern, str) else None


def _parses(read: Callable[[str], Any]) -> Callable[[str], bool]:
    def fits(text: str) -> bool:
        try:
            read(text)
        except ValueError:
            return False
        return True

    return fits


def _is_date(text: str) -> bool:
    return len(text) == 10 and _parses(datetime.date.fromisoformat)(text)


FORMATS: Mapping[str, Callable[[str], bool]] = {
    "date": _is_date,
    "date-time": lambda text: len(text) > 10 and text[10] in "Tt " and _parses(datetime.datetime.fromisoformat)(text),
    "time": lambda text: _TIME.fullmatch(text) is not None,
    "email": lambda text: _EMAIL.fullmatch(text) is not None,
    "uri": lambda text: _URI.fullmatch(text) is not None,
    "url": lambda text: _URI.fullmatch(text) is not None,
    "duration": lambda text: _DURATION.fullmatch(text) is not None,
    "uuid": _parses(uuid.UUID),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
}
"""What is known of a `format`: whether a text has it. Times may leave out their zone."""


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:80] + "..."
