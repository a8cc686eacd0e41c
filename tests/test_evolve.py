"""Tool self-evolution: every operator gives a sound definition, and what comes of many is new."""

from __future__ import annotations

from pathlib import Path
from random import Random

import jsonschema
import pytest
from sample_tools import TEXT

from iterft.json_schema import schema_faults, types_of
from iterft.synth.evolve import MAX_OPERATORS, OPERATORS, evolve, renamed
from iterft.synth.near import NearDuplicates
from iterft.synth.stock import spoken_of
from iterft.toolsets.forms import load_toolset
from iterft.toolsets.parts import Definition

WEATHER = Definition(
    "get_weather",
    "Weather of a city.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "City"},
            "days": {"type": "integer", "description": "Days"},
            "unit": {"type": "string", "enum": ["celsius", "kelvin"]},
        },
        "required": ["city", "days"],
    },
    {"type": "object", "properties": {"degrees": {"type": "number"}}},
)


@pytest.fixture
def definitions(tmp_path: Path) -> tuple[Definition, ...]:
    path = tmp_path / "my_tools.py"
    path.write_text(TEXT)
    return load_toolset(path).definitions


@pytest.mark.parametrize("name", OPERATORS)
def test_each_operator_changes_what_it_says_and_keeps_the_definition_sound(name: str) -> None:
    changes = [change for seed in range(40) if (change := OPERATORS[name](WEATHER, Random(seed)))]
    assert len(changes) > 5
    for change in changes:
        made = change.definition
        jsonschema.Draft202012Validator.check_schema(made.parameters)
        assert list(schema_faults(made.parameters)) == []
        assert made.description.startswith("Weather of a city. ")
        before, after = WEATHER.parameters["properties"], made.parameters["properties"]
        match name:
            case "add_parameter":
                assert len(after) == len(before) + 1
            case "add_constraint":
                assert set(after) == set(before) and made.parameters != WEATHER.parameters
            case "list_of_values":
                assert any(types_of(schema) == ["array"] for schema in after.values())
            case "nested_object":
                assert any(types_of(schema) == ["object"] for schema in after.values()) and len(after) == 2
            case "range_of_values":
                assert after["days_range"]["required"] == ["low", "high"]
            case _:
                assert made.parameters == WEATHER.parameters and made.returns != WEATHER.returns


def test_a_parameter_of_several_types_gets_no_bounds_of_numbers() -> None:
    either = {"type": "object", "properties": {"id": {"type": ["integer", "string"]}}, "required": ["id"]}
    made = evolve([Definition("get_item", "Get an item.", either)], 20, seed=0)
    assert made and all("minimum" not in each.definition.parameters["properties"].get("id", {}) for each in made)
    maybe = {"type": "object", "properties": {"n": {"type": ["integer", "null"]}}, "required": ["n"]}
    changed = OPERATORS["add_constraint"](Definition("get_item", "Get an item.", maybe), Random(0))
    assert changed and {"minimum", "maximum"} <= changed.definition.parameters["properties"]["n"].keys()


def test_many_are_made_each_new_by_name_and_asked_for_as_its_origin_is(definitions: tuple[Definition, ...]) -> None:
    made = evolve(definitions, 150, seed=0)
    deeds = {definition.name: spoken_of(definition).spec.deed for definition in definitions}
    names = [each.definition.name for each in (*made,)] + [definition.name for definition in definitions]
    assert len(made) == 150 and len(set(names)) == len(names)
    assert {each.origin for each in made} == {definition.name for definition in definitions}
    assert {operator for each in made for operator in each.operators} == set(OPERATORS)
    near = NearDuplicates()
    for each in made:
        assert 1 <= len(each.operators) <= MAX_OPERATORS
        text = f"{each.definition.name}\n{each.definition.description}\n{each.definition.parameters}"
        near.add(text)
        spec = spoken_of(each.definition, each.operators, each.origin).spec
        assert spec.imperatives and spec.deed == deeds[each.origin]


def test_the_same_seed_makes_the_same_tools_and_fewer_are_a_beginning(definitions: tuple[Definition, ...]) -> None:
    assert evolve(definitions, 40, seed=1) == evolve(definitions, 40, seed=1)
    assert evolve(definitions, 40, seed=1)[:20] == evolve(definitions, 20, seed=1)
    assert evolve(definitions, 20, seed=1) != evolve(definitions, 20, seed=2)


def test_new_names_keep_the_style_of_the_old() -> None:
    assert renamed("get_weather", "with max results") == "get_weather_with_max_results"
    assert renamed("getWeather", "by details") == "getWeatherByDetails"
    assert renamed("weather", "all") == "weather_all"
