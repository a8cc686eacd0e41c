"""Results of calls: of the type that the tool returns, the same for the same call, and told truly."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import jsonschema

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
    assert failures[0]["error"] in told(CALLS[:1], failures[:1], Random(0))


def test_what_is_told_holds_the_values_of_the_result() -> None:
    world = World({"get_weather": RETURNS}, seed=0)
    for number, call in enumerate(CALLS):
        result = world.success(call)
        text = told([call], [result], Random(number))
        assert "Oslo" in text and json.dumps(result["temperature"]) in text
        assert ("yes" if result["is_sunny"] else "no") in text


def test_several_results_are_told_apart_by_what_their_calls_differ_in() -> None:
    calls = [ToolCall("get_weather", {"city": city, "days": 3}) for city in ("Oslo", "Lima")]
    text = told(calls, [{"degrees": 4}, {"degrees": 19}], Random(0))
    assert text.index("For Oslo: ") < text.index("4") < text.index("For Lima: ") < text.index("19")


def test_where_nothing_says_what_a_tool_returns_its_name_does() -> None:
    assert "order_id" in returns_of(definition("create_order"))["properties"]
    assert "customer_id" in returns_of(definition("find_customers"))["properties"]
    assert list(returns_of(definition("get_price"))["properties"]) == ["price"]
    assert returns_of(definition("get_price", RETURNS)) == RETURNS
    assert list(returns_of(definition("set_status"))["properties"]) == ["status", "status_id"]
    assert list(returns_of(definition("fetch"))["properties"]) == ["result"]
