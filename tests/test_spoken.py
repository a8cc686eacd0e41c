"""Wordings for anybody's tools: they say what is required, sound like a request, and come out as calls that fit."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest
from sample_tools import TEXT

from iterft.json_schema import value_faults
from iterft.rollout import settle_call
from iterft.synth.catalog import reference
from iterft.synth.clauses import clauses_of
from iterft.synth.spoken import SpokenTool
from iterft.synth.stock import built_in_tools, definition_of, spoken_of
from iterft.synth.verbs import deeds, plural
from iterft.synth.wording import fill, slots
from iterft.toolsets.forms import load_toolset
from iterft.toolsets.parts import Definition


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> list[SpokenTool]:
    path: Path = tmp_path_factory.mktemp("tools") / "my_tools.py"
    path.write_text(TEXT)
    mine = [spoken_of(definition) for definition in load_toolset(path).definitions]
    return mine + [spoken_of(definition_of(tool)) for tool in built_in_tools()]


def test_every_wording_says_all_that_is_required_and_only_what_is_known(tools: list[SpokenTool]) -> None:
    for tool in tools:
        required = {parameter.path for parameter in tool.spec.parameters if parameter.required}
        for wording in (*tool.spec.imperatives, *tool.spec.queries):
            assert slots(wording) <= set(tool.spec.kinds)
            assert required <= slots(wording, spoken_always=True), tool.spec.name
        for path, wordings in tool.partials.items():
            assert all(required - slots(wording, spoken_always=True) == {path} for wording in wordings)
        for gap in tool.spec.gaps:
            assert required - slots(gap.query, spoken_always=True) == {gap.path}


def test_what_a_wording_binds_is_a_call_that_fits_the_schema(tools: list[SpokenTool]) -> None:
    random = Random(0)
    for tool in tools:
        for wording in (*tool.spec.imperatives, *tool.spec.queries):
            text, (bindings,) = fill(wording, tool.spec.kinds, random)  # type: ignore[misc]
            call = settle_call(reference(tool.spec, bindings))
            assert list(value_faults(dict(call.arguments), tool.spec.schema["parameters"])) == [], text
            assert not re.search(r"[{}~<>]|\[\]|  | ,|\.\.|\?\.", re.sub(r'"[^"]*"|\[[^a-z]*\]', "X", text)), text


def test_wordings_of_one_tool_differ(tools: list[SpokenTool]) -> None:
    for tool in tools:
        if tool.spec.parameters:
            assert len({repr(wording) for wording in tool.spec.imperatives}) > len(tool.spec.imperatives) / 2


@pytest.mark.parametrize(
    ("name", "description", "phrases"),
    [
        (
            "get_weather",
            "Weather of the coming days.",
            ["look up the weather", "look up the weather of the coming days"],
        ),
        ("searchFlights", "Search for flights between two airports.", ["flights", "flights between two airports"]),
        ("Calendar.add_event", "Create an event in the user's calendar.", ["add an event", "an event in my calendar"]),
        ("place_order", "Place an order for a given customer.", ["place the order", "place an order"]),
        ("find_customer", "Look up a customer by name.", ["find the customer", "a customer"]),
        ("bmi", "Calculates the body mass index (BMI) of a person.", ["calculate the body mass index"]),
        ("sentiment_analyze", "", ["analyze the sentiment"]),
        ("ping", "", ["get the ping"]),
        ("hoist", "Hoists the flag", ["hoist the flag"]),
        ("drive_list_files", "", ["list files"]),
        ("search_files", "Recursively search for old files", ["search for files", "search for old files"]),
    ],
)
def test_what_a_tool_does_is_told_from_its_name_and_description(
    name: str, description: str, phrases: list[str]
) -> None:
    found = [deed.plain for deed in deeds(name, description)]
    assert len(found) == len(phrases)
    assert all(text.endswith(phrase.split(" ", 2)[-1]) for text, phrase in zip(found, phrases, strict=True)), found


def test_a_flag_is_said_by_its_name_either_way() -> None:
    said = " ".join(clauses_of("include_tax", {"type": "boolean"}, ()))
    assert "{include_tax=true}" in said and "{include_tax=false}" in said and "tax" in said


def test_a_preposition_that_another_parameter_has_is_not_used_twice() -> None:
    assert any(form.startswith(" in {city}") for form in clauses_of("city", {"type": "string"}, ()))
    assert not any(form.startswith(" in {city}") for form in clauses_of("city", {"type": "string"}, (" in",)))


def test_a_parameter_whose_name_cannot_be_worded_is_refused_with_its_tool() -> None:
    schema = {"type": "object", "properties": {"a.b": {"type": "string"}}}
    with pytest.raises(ValueError, match=r"tool f: a\.b: a name with a blank, a dot"):
        spoken_of(Definition("f", "Does it.", schema))


def test_plurals() -> None:
    assert [plural(word) for word in ("city", "day", "box", "name")] == ["cities", "days", "boxes", "names"]
