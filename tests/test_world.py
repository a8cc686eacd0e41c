"""Results of calls: of the type that the tool returns, the same for the same call, and told truly."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any

import jsonschema
import pytest

from iterft.synth.deeds import gist
from iterft.synth.world import FAILURE_SHARE, World, returns_of, told
from iterft.toolsets.parts import Definition
from iterft.types import ToolCall

RETURNS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "temperature": {"type": "number"},
        "is_sunny": {"type": "boolean"},
        "hours": {"type": "array", "items": {"type": "object", "properties": {"hour": {"type": "integer"}}}},
    },
}
WEATHER = ("get", "weather")
CALLS = [ToolCall("get_weather", {"city": "Oslo", "days": number}) for number in range(400)]


def definition(name: str, returns: Any = None) -> Definition:
    return Definition(name, "Does it.", {"type": "object", "properties": {}}, returns)


def test_a_result_fits_its_schema_is_whole_and_repeats_what_was_set() -> None:
    world = World({"get_weather": RETURNS}, seed=0)
    for call in CALLS:
        result = world.success(call)
        jsonschema.validate(result, RETURNS)
        assert list(result) == list(RETURNS["properties"])
        assert result["city"] == "Oslo"


def test_the_same_call_has_the_same_result_and_other_calls_and_seeds_have_others() -> None:
    world, other = World({"get_weather": RETURNS}, seed=0), World({"get_weather": RETURNS}, seed=1)
    results = [world.answer(call) for call in CALLS]
    assert [world.answer(call) for call in CALLS[::-1]] == results[::-1]
    assert [other.answer(call) for call in CALLS] != results
    assert len({json.dumps(result) for result in results}) > 100


def test_now_and_then_a_call_fails_and_the_failure_is_told() -> None:
    world = World({"get_weather": RETURNS}, seed=0)
    results = [world.answer(call) for call in CALLS]
    failures = [result for result in results if set(result) == {"error"}]
    assert 0.3 * FAILURE_SHARE < len(failures) / len(CALLS) < 3 * FAILURE_SHARE
    assert failures[0]["error"] in told(CALLS[:1], failures[:1], [WEATHER], Random(0))


def test_what_is_told_holds_the_values_of_the_result() -> None:
    world = World({"get_weather": RETURNS}, seed=0)
    for number, call in enumerate(CALLS):
        result = world.success(call)
        text = told([call], [result], [WEATHER], Random(number))
        assert "Oslo" in text and json.dumps(result["temperature"]) in text
        assert ("yes" if result["is_sunny"] else "no") in text


def test_several_results_are_told_apart_by_what_their_calls_differ_in() -> None:
    calls = [ToolCall("get_weather", {"city": city, "days": 3}) for city in ("Oslo", "Lima")]
    text = told(calls, [{"degrees": 4}, {"degrees": 19}], [WEATHER] * 2, Random(0))
    assert text.index("For Oslo: ") < text.index("4") < text.index("For Lima: ") < text.index("19")


def test_where_nothing_says_what_a_tool_returns_its_name_does() -> None:
    assert "order_id" in returns_of(definition("create_order"))["properties"]
    assert "customer_id" in returns_of(definition("find_customers"))["properties"]
    assert list(returns_of(definition("get_price"))["properties"]) == ["price"]
    assert returns_of(definition("get_price", RETURNS)) == RETURNS
    assert list(returns_of(definition("set_status"))["properties"]) == ["status", "status_id"]
    assert list(returns_of(definition("fetch"))["properties"]) == ["result"]


NUMBER, TEXT = {"type": "integer"}, {"type": "string"}


def ways_to_tell(name: str, description: str, result: Any) -> set[str]:
    call, about = ToolCall(name, {}), gist(name, description)
    return {told([call], [result], [about], Random(seed)) for seed in range(60)}


def results_of(name: str, description: str, returns: Any) -> list[Any]:
    tool = Definition(name, description, {"type": "object", "properties": {"n": NUMBER}}, returns)
    world = World({name: returns_of(tool)}, 0)
    results = [world.success(ToolCall(name, {"n": number})) for number in range(40)]
    for result in results:
        jsonschema.validate(result, returns)
    return results


def test_what_is_looked_up_is_a_number_only_where_its_name_is_that_of_one() -> None:
    def told_by(name: str) -> set[str]:
        world = World({name: returns_of(definition(name))}, seed=0)
        return {
            type(value).__name__ for call in CALLS[:20] for value in world.success(replace(call, name=name)).values()
        }

    assert told_by("get_price") == {"float", "int"} and told_by("calculate_yield") == {"float", "int"}
    assert told_by("get_customer") == told_by("check_log") == told_by("get_current_time") == {"str"}


def test_an_id_alone_is_that_of_the_call_where_the_tool_is_about_it() -> None:
    returns = {"type": "object", "properties": {"id": {"type": "integer"}}}
    world = World(dict.fromkeys(("get_pet", "pets.get", "add_toy_to_pet", "get_toy"), returns), seed=0)
    for name in ("get_pet", "pets.get"):
        assert world.success(ToolCall(name, {"petId": 7, "ownerId": 8})) == {"id": 7}
    for name in ("add_toy_to_pet", "get_toy"):
        assert world.success(ToolCall(name, {"petId": 7})) != {"id": 7}


def test_what_returns_nothing_or_only_that_it_is_done_is_told_so() -> None:
    assert set(results_of("dim_lights", "Dim the lights.", {"type": "null"})) == {None}
    assert set(results_of("lock_door", "Lock a door.", TEXT)) == {"done", "completed", "ok"}
    assert set(results_of("lock_door", "Lock a door.", {"type": "boolean"})) == {True}
    done = {"That's done.", "It worked.", "All set.", "Done."}
    for result in (None, "ok", True):
        assert ways_to_tell("lock_door", "Lock a door.", result) == done


def test_what_asks_yes_or_no_is_answered_with_either() -> None:
    for name, description in (("is_room_free", "Whether a room is free."), ("check_stock", "Check the stock.")):
        assert set(results_of(name, description, {"type": "boolean"})) == {True, False}
        assert all(
            text.lower().startswith(("yes", "the answer is yes")) for text in ways_to_tell(name, description, True)
        )
        assert all(
            text.lower().startswith(("no", "the answer is no")) for text in ways_to_tell(name, description, False)
        )
    assert returns_of(Definition("is_open", "Whether it is open.", {"type": "object", "properties": {}}))["enum"] == [
        True,
        False,
    ]


def test_a_bare_value_is_called_by_what_the_tool_is_about_and_only_what_is_looked_for_is_found() -> None:
    assert all(isinstance(result, int) for result in results_of("create_lead", "Create a lead.", NUMBER))
    made = ways_to_tell("create_lead", "Create a lead.", 4711)
    assert made and all(text.lower().endswith("the lead id is 4711.") for text in made)
    assert not any("looked" in text or "found" in text for text in made)
    got = ways_to_tell("get_population", "Population of a city.", 4711)
    assert "I looked it up: the population is 4711." in got and "Done: the population is 4711." not in got
    rule = ways_to_tell("set_rule", "Set a rule.", {"status": "ok"})
    assert not any("looked" in text or "found" in text for text in rule)


@pytest.mark.parametrize(
    ("name", "returns"),
    [
        ("web_search", {"type": "array", "items": TEXT}),
        ("find_rooms", {"type": "array", "items": NUMBER}),
        ("set_heat", {"type": "object", "additionalProperties": {"type": "number"}}),
        ("place_order", {"type": "object", "additionalProperties": NUMBER}),
        ("create_job", {"type": "object", "additionalProperties": TEXT}),
        ("get_price", {"type": "object", "additionalProperties": {"type": "array", "items": NUMBER}}),
    ],
)
def test_a_result_is_of_the_declared_type_whatever_it_is(name: str, returns: Any) -> None:
    assert results_of(name, "Does it.", returns)


def test_a_guessed_result_repeats_the_id_of_the_call_in_its_type() -> None:
    schema = {"type": "object", "properties": {"ticket_id": NUMBER}}
    returns = returns_of(Definition("assign_ticket", "Assign Ticket", schema))
    call = ToolCall("assign_ticket", {"ticket_id": 7})
    assert World({"assign_ticket": returns}, 0).success(call)["ticket_id"] == 7
