"""Values for anybody's parameters: each fits its schema and can be found in the words that say it."""

from __future__ import annotations

import re
from random import Random
from typing import Any

import jsonschema
import pytest

from iterft.rollout import settle
from iterft.synth.grounding import Said, leaves
from iterft.synth.patterns import draw_matching, is_drawable
from iterft.synth.typed import fields_of, kind_for, topic_of

SCHEMAS: dict[str, dict[str, Any]] = {
    "city": {"type": "string"},
    "unit": {"type": "string", "enum": ["metric_system", "imperial_system"]},
    "level": {"type": "integer", "enum": [1, 5, 9]},
    "when": {"type": "string", "format": "date-time"},
    "birthday": {"type": "string", "format": "date"},
    "address": {"type": "string", "format": "email"},
    "site": {"type": "string", "format": "uri"},
    "server_ip": {"type": "string", "format": "ipv4"},
    "token": {"type": "string", "format": "uuid"},
    "code": {"type": "string", "pattern": "^[A-Z]{2}-\\d{3,5}(?:x|yz)?$"},
    "cep": {"type": "string", "pattern": "^\\d+$", "minLength": 8, "maxLength": 8},
    "pin": {"type": "string", "minLength": 30, "maxLength": 32},
    "days": {"type": "integer", "minimum": 3, "maximum": 5},
    "ratio": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "price": {"type": "number", "multipleOf": 0.25, "minimum": 1},
    "temperature": {"type": "number", "maximum": -5},
    "shade": {"type": "string", "description": "Shade, e.g. 'ash grey' or 'moss green'"},
    "keys": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 3, "uniqueItems": True},
    "sizes": {"type": "array", "items": {"type": "number"}},
    "corners": {"type": "array", "items": {"type": "boolean"}, "minItems": 4, "maxItems": 4},
    "grid": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
    "home": {
        "type": "object",
        "properties": {
            "street": {"type": "string"},
            "floor": {"type": "integer", "default": 0},
            "is_flat": {"type": "boolean"},
            "owner": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
        },
        "required": ["street"],
    },
    "lines": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"product": {"type": "string"}, "quantity": {"type": "integer"}},
            "required": ["product", "quantity"],
        },
    },
    "labels": {"type": "object", "additionalProperties": {"type": "integer"}},
    "free": {"type": "object"},
    "either": {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]},
    "maybe": {"type": ["number", "null"]},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_value_fits_its_schema_and_is_in_its_words(name: str) -> None:
    kind, random = kind_for(name, SCHEMAS[name]), Random(3)
    validator = jsonschema.Draft202012Validator(SCHEMAS[name], format_checker=jsonschema.FormatChecker())
    drawn = [kind.draw(random) for _ in range(200)]
    assert len({value.words for value in drawn}) > 1
    for value in drawn:
        for accepted in value.accepted:
            validator.validate(settle(accepted))
        said = Said(value.words)
        for path, leaf in leaves(settle(value.accepted[0]), name):
            assert isinstance(leaf, bool) or said.holds(path, leaf), (value, leaf)


@pytest.mark.parametrize("only", [1, 0.7])
def test_bounds_that_leave_one_number_are_that_number(only: float) -> None:
    kind = kind_for("share", {"type": "number", "minimum": only, "maximum": only})
    assert kind.draw(Random(0)).accepted == (only,)


def test_names_and_descriptions_tell_what_a_text_is_about() -> None:
    random = Random(0)
    assert "@" in kind_for("contact_email", {"type": "string"}).draw(random).words
    assert "@" in kind_for("x", {"type": "string", "description": "The e-mail address to use"}).draw(random).words
    assert kind_for("orderDate", {"type": "string"}).draw(random).accepted[0].startswith("202")
    free, fixed = kind_for("date", {"type": "string"}), kind_for("date", {"type": "string", "format": "date"})
    for seed in range(20):
        value = free.draw(Random(seed))
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", value.accepted[0])
        assert value.words in value.accepted, "a day in a form that nothing prescribes may be written as it was said"
        assert fixed.draw(Random(seed)).accepted == value.accepted[:1]


def test_examples_in_a_description_are_used_and_forms_are_not_taken_for_values() -> None:
    shades = {kind_for("shade", SCHEMAS["shade"]).draw(Random(seed)).words for seed in range(30)}
    assert shades == {"ash grey", "moss green"}
    schema = {"type": "string", "description": "First day, e.g. DD/MM/YYYY"}
    assert "DD" not in kind_for("start_date", schema).draw(Random(0)).words


def test_a_parameter_for_which_no_value_can_be_made_is_refused_by_name() -> None:
    schema = {"type": "string", "pattern": "^(?=x)y$"}
    with pytest.raises(ValueError, match="odd: no value could be made"):
        kind_for("odd", schema)


def test_two_parameters_of_one_topic_are_known_as_such() -> None:
    city, text = {"type": "string", "description": "a"}, {"type": "string"}
    assert topic_of("origin", city) == topic_of("destination", text)
    assert topic_of("origin", text) != topic_of("title", text)


def test_scalar_fields_of_a_result_are_found_in_objects_and_lists() -> None:
    schema = {"properties": {"a": {"type": "string"}, "b": {"type": "array", "items": SCHEMAS["lines"]["items"]}}}
    assert [path for path, _ in fields_of(schema)] == ["a", "b[].product", "b[].quantity"]


@pytest.mark.parametrize(
    "pattern",
    ["^[a-z]+$", "a|b{2}", "(x[0-9]{2,3}){2}", r"\w\d\s.", "[^a-y0-9]", r"^\+?[1-9]\d{1,14}$", r"a\.b\-c", "[]x]"],
)
def test_texts_match_their_pattern(pattern: str) -> None:
    for seed in range(50):
        assert re.search(pattern, draw_matching(pattern, Random(seed)))


@pytest.mark.parametrize("pattern", ["(?=a)b", "(a", "[a", "a{x}", "*a", r"(a)\1", r"\bword", "a)"])
def test_patterns_that_are_not_read_are_refused(pattern: str) -> None:
    assert not is_drawable(pattern)
