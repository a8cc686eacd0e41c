"""Values under schemas: what fits, and by what name it is told when it does not."""

from __future__ import annotations

from typing import Any

import pytest

from iterft.json_schema import FORMATS, schema_faults, value_faults

MISSING = "missing_parameter"


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (3, {"type": "number"}),
        (None, {"type": ["string", "null"]}),
        (None, {"type": "string", "nullable": True}),
        ("a", {"type": "any"}),
        ([], {}),
        ({"a": 1}, {"type": "object"}),
        ({"a": 1, "b": 2}, {"type": "object", "properties": {"a": {}}, "additionalProperties": True}),
        ({"a": 1, "b": 2}, {"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}),
        (2, {"anyOf": [{"type": "string"}, {"type": "integer"}]}),
        (0.3, {"type": "number", "multipleOf": 0.1}),
        ({"n": {"n": None}}, {"$defs": {"N": {"properties": {"n": {"$ref": "#/$defs/N"}}}}, "$ref": "#/$defs/N"}),
        (True, {"type": "boolean", "enum": [True]}),
        ({"a": 1}, {"properties": {"a": {}, "b": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}),
        ({"a": 1, "b": 2}, {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}),
        ({"a": 1, "b": 2}, {"properties": {"a": {}}, "anyOf": [{"properties": {"b": {"type": "integer"}}}]}),
    ],
)
def test_what_fits_has_no_faults(value: Any, schema: Any) -> None:
    assert list(value_faults(value, schema)) == []


@pytest.mark.parametrize(
    ("value", "schema", "reason", "path"),
    [
        (True, {"type": "integer"}, "wrong_type", ""),
        (1.5, {"type": "integer"}, "wrong_type", ""),
        ("1", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, "wrong_type", ""),
        (1, {"enum": [True]}, "not_in_enum", ""),
        (1, {"type": "integer", "exclusiveMinimum": 1}, "out_of_bounds", ""),
        (1, {"type": "integer", "minimum": 1, "exclusiveMinimum": True}, "out_of_bounds", ""),
        (9, {"type": "integer", "exclusiveMaximum": 9}, "out_of_bounds", ""),
        ([1, "a"], {"type": "array", "items": {"type": "integer"}}, "wrong_type", "[]"),
        ({"a": {"b": 1}}, {"properties": {"a": {"properties": {"b": {"type": "string"}}}}}, "wrong_type", "a.b"),
        ({}, {"properties": {"a": {}}, "required": ["a"]}, "missing_parameter", "a"),
        ({"b": 1}, {"properties": {"a": {}}}, "unknown_parameter", "b"),
        ({"a": "x"}, {"allOf": [{"properties": {"a": {"type": "integer"}}}]}, "wrong_type", "a"),
        ({}, {"properties": {"a": {}, "b": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, MISSING, ""),
        ({"a": "x"}, {"properties": {"a": {"type": "integer"}}, "anyOf": [{"required": ["a"]}]}, "wrong_type", "a"),
        ({"c": 1}, {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}, "unknown_parameter", "c"),
        ({}, {"type": "object", "minProperties": 1}, "wrong_length", ""),
        (3, {"type": "string", "anyOf": [{"minLength": 1}]}, "wrong_type", ""),
    ],
)
def test_what_does_not_fit_is_told_with_its_path(value: Any, schema: Any, reason: str, path: str) -> None:
    first = next(value_faults(value, schema))
    assert (first.reason, first.path) == (reason, path)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("date", "2026-02-28", "2026-02-30"),
        ("date", "2026-02-28", "20260228"),
        ("date-time", "2026-02-28T10:00:00Z", "2026-02-28"),
        ("time", "23:59", "24:00"),
        ("email", "a@b.example", "a@b"),
        ("uri", "https://a.example/x", "a.example/x y"),
        ("duration", "P1DT2H", "P1DT"),
        ("duration", "PT30M", "30 minutes"),
        ("uuid", "8c6b1c1e-6d7b-4b52-9d2e-1f2f3a4b5c6d", "8c6b"),
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("ipv6", "::1", "10.0.0.1"),
    ],
)
def test_formats_are_known(kind: str, right: str, wrong: str) -> None:
    assert FORMATS[kind](right) and not FORMATS[kind](wrong)


def test_a_whole_number_with_a_point_is_a_sound_default_of_an_integer() -> None:
    assert list(schema_faults({"type": "integer", "default": 3.0})) == []
    assert [fault.reason for fault in schema_faults({"type": "integer", "default": 3.5})] == ["default_misfit"]
