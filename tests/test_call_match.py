"""The verifier's verdicts and the reasons it names. Its objections: `test_objection`."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from iterft.rewards.call_match import CallMatch
from iterft.rewards.value_match import value_fault
from iterft.types import REASONS, PartialTurn, Prompt, Reward, Sample, ToolCall, Trajectory, Turn

judge = CallMatch()

BOOK = {
    "name": "book",
    "description": "Books a table.",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "seats": {"type": "integer"},
            "budget": {"type": "number"},
            "outside": {"type": "boolean"},
            "dishes": {"type": "array", "items": {"type": "string"}},
            "guest": {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}},
            "orders": {"type": "array", "items": {"type": "object"}},
        },
        "required": ["city"],
    },
}
PING = {"name": "ping", "parameters": {"type": "object", "properties": {"host": {"type": "string"}}, "required": []}}
BOOKING = ToolCall(
    "book",
    {
        "city": ["New York, NY", "NYC"],
        "seats": [4],
        "budget": [50.0, ""],
        "outside": ["", True],
        "dishes": [["soup", "Fish & Chips"], ""],
        "guest": [{"name": ["Ann", "Anna"], "age": [30, ""]}, ""],
        "orders": [[{"dish": ["soup"], "count": [1, 2]}, {"dish": ["pie"]}], ""],
    },
)
RIGHT = {"city": "NYC", "seats": 4}


def sample_of(*answer: ToolCall) -> Sample:
    return Sample("s", Prompt(({"role": "user", "content": "Please."},), (BOOK, PING)), answer)


def verdict(sample: Sample, *calls: ToolCall, error: str = "") -> Reward:
    return judge(Trajectory(sample, (Turn("", calls, error),)))


def explained(sample: Sample, *calls: ToolCall, error: str = "") -> str:
    return judge.explain(Trajectory(sample, (Turn("", calls, error),)))


def book(**arguments: Any) -> ToolCall:
    return ToolCall("book", arguments)


def ping(host: str) -> ToolCall:
    return ToolCall("ping", {"host": host})


def pings(*hosts: str) -> Sample:
    return sample_of(*(ToolCall("ping", {"host": [host]}) for host in hosts))


ACCEPTED = {
    "the smallest call": RIGHT,
    "a string in other case and punctuation": {**RIGHT, "city": "new york ny."},
    "an int for a number": {**RIGHT, "budget": 50},
    "an optional argument written": {**RIGHT, "outside": True},
    "strings in a list": {**RIGHT, "dishes": ["Soup", "fish&chips"]},
    "an object": {**RIGHT, "guest": {"age": 30, "name": "anna"}},
    "an object without its optional key": {**RIGHT, "guest": {"name": "Ann"}},
    "a list of objects": {**RIGHT, "orders": [{"dish": "SOUP", "count": 2}, {"dish": "pie"}]},
}


@pytest.mark.parametrize("arguments", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted_spellings_score_one_without_a_reason(arguments: dict[str, Any]) -> None:
    assert verdict(sample_of(BOOKING), ToolCall("book", arguments)) == Reward(1.0, parts={"calls": 1.0})


NEAR_MISSES = {
    "another city": ({**RIGHT, "city": "Boston"}, "wrong_value", "city"),
    "one letter more": ({**RIGHT, "city": "NYCx"}, "wrong_value", "city"),
    "one seat less": ({**RIGHT, "seats": 3}, "wrong_value", "seats"),
    "a number as a string": ({**RIGHT, "seats": "4"}, "wrong_type", "seats"),
    "a number for an int": ({**RIGHT, "seats": 4.0}, "wrong_type", "seats"),
    "a boolean for a number": ({**RIGHT, "budget": True}, "wrong_type", "budget"),
    "an int for a boolean": ({**RIGHT, "outside": 1}, "wrong_type", "outside"),
    "null": ({**RIGHT, "outside": None}, "wrong_type", "outside"),
    "the other order in a list": ({**RIGHT, "dishes": ["Fish & Chips", "soup"]}, "wrong_value", "dishes"),
    "a wrong item in a list": ({**RIGHT, "dishes": ["soup", 5]}, "wrong_value", "dishes"),
    "a string for a list": ({**RIGHT, "dishes": "soup"}, "wrong_type", "dishes"),
    "a wrong value in an object": ({**RIGHT, "guest": {"name": "Bob"}}, "wrong_value", "guest"),
    "a missing key in an object": ({**RIGHT, "guest": {"age": 30}}, "wrong_value", "guest"),
    "an extra key in an object": ({**RIGHT, "guest": {"name": "Ann", "sex": "f"}}, "wrong_value", "guest"),
    "objects in the other order": ({**RIGHT, "orders": [{"dish": "pie"}, {"dish": "soup"}]}, "wrong_value", "orders"),
    "one object less": ({**RIGHT, "orders": [{"dish": "soup", "count": 1}]}, "wrong_value", "orders"),
    "a required argument missing": ({"seats": 4}, "missing_parameter", "city"),
    "an expected argument missing": ({"city": "NYC"}, "missing_parameter", "seats"),
    "an argument that does not exist": ({**RIGHT, "wine": "red"}, "unknown_parameter", "wine"),
}


@pytest.mark.parametrize(("arguments", "reason", "parameter"), NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_near_misses_score_zero_and_name_reason_tool_and_parameter(
    arguments: dict[str, Any], reason: str, parameter: str
) -> None:
    reward = verdict(sample_of(BOOKING), ToolCall("book", arguments))
    assert (reward.value, reward.reason, reward.parts) == (0.0, reason, {"calls": 0.0})
    assert explained(sample_of(BOOKING), ToolCall("book", arguments)).startswith(f"book: {parameter} ")


TURNS = {
    "no call though one is needed": (sample_of(BOOKING), (), "no_call"),
    "an unknown tool": (sample_of(BOOKING), (ToolCall("reserve", RIGHT),), "unknown_tool"),
    "another tool of the list": (sample_of(BOOKING), (ping("NYC"),), "wrong_tool"),
    "the right call twice": (sample_of(BOOKING), (book(**RIGHT), book(**RIGHT)), "extra_call"),
    "one call of two": (pings("a", "b"), (ping("b"),), "missing_call"),
    "a call where none is right": (sample_of(), (ping("a"),), "unneeded_call"),
    "the same call for two entries": (pings("a", "b"), (ping("a"), ping("a")), "wrong_value"),
    "a tool that is used up": (sample_of(BOOKING, *pings("a").answer), (ping("a"), ping("a")), "wrong_tool"),
}


@pytest.mark.parametrize(("sample", "calls", "reason"), TURNS.values(), ids=TURNS)
def test_turns_with_wrong_calls_name_the_reason(sample: Sample, calls: tuple[ToolCall, ...], reason: str) -> None:
    reward = verdict(sample, *calls)
    assert (reward.value, reward.reason) == (0.0, reason)
    assert explained(sample, *calls).endswith(".")
    assert judge.objection(sample, PartialTurn(calls=calls, finished=True)) == reason


def test_every_reason_is_named_by_some_turn() -> None:
    named = {reason for _, reason, _ in NEAR_MISSES.values()} | {reason for *_, reason in TURNS.values()}
    assert named | {verdict(pings("a"), error="no closing tag").reason} == set(REASONS)


def test_silence_is_right_where_no_call_is_and_a_malformed_turn_never_is() -> None:
    assert verdict(sample_of()) == Reward(1.0)
    assert verdict(sample_of(), error="no closing tag").reason == "unparsable"
    assert verdict(pings("a"), error="no closing tag").reason == "unparsable"
    assert explained(pings("a"), error="no closing tag") == "The turn is not well-formed: no closing tag."
    assert explained(pings("a"), ping("a")) == ""


def test_calls_may_come_in_any_order_and_parts_tell_the_share_matched() -> None:
    sample = pings("a", "b", "c")
    for hosts in permutations("abc"):
        assert verdict(sample, *map(ping, hosts)).value == 1.0
    assert verdict(sample, ping("c"), ping("x"), ping("a")).parts == {"calls": pytest.approx(2 / 3)}


def test_overlapping_entries_are_matched_greedily_as_the_official_checker_does() -> None:
    either, first = ToolCall("ping", {"host": ["a", "b"]}), ToolCall("ping", {"host": ["a"]})
    assert verdict(sample_of(either, first), ping("b"), ping("a")).value == 1.0
    assert verdict(sample_of(either, first), ping("a"), ping("b")).value == 0.0
    assert judge.objection(sample_of(either, first), PartialTurn(calls=(ping("a"),))) == ""
    assert judge.objection(sample_of(either, first), PartialTurn(calls=(ping("a"), ping("b")))) == "wrong_value"


def test_a_parameter_of_the_tool_that_the_reference_leaves_out_is_told_from_one_that_does_not_exist() -> None:
    sample = sample_of(ToolCall("book", {"city": ["NYC"]}))
    assert explained(sample, book(city="NYC", seats=4)) == "book: seats is to be left out."
    assert explained(sample, book(city="NYC", wine=4)) == "book: wine is none of the parameters."


VALUES = {
    "BFCL float takes an int": (5, [5.0], {"type": "float"}, ""),
    "an int in a list of floats does not": ([1, 2.0], [[1.0, 2.0]], {"type": "array", "items": {"type": "float"}}, "x"),
    "BFCL dict is an object": ({"a": "X"}, [{"a": ["x"]}], {"type": "dict"}, ""),
    "BFCL tuple takes a tuple": ((1, 2), [[1, 2]], {"type": "tuple", "items": {"type": "integer"}}, ""),
    "BFCL any is a string": ("A-b", ["ab"], {"type": "any"}, ""),
    "a type of the reference, compared plainly": (True, ["", True], {"type": "string"}, ""),
    "null where the reference has it": (None, ["", None], {"type": "integer"}, ""),
    "an empty list counts as left out": ([], ["", ["a"]], {"type": "array", "items": {"type": "string"}}, ""),
    "a huge int for a number": (10**400, [1.0], {"type": "number"}, "x"),
    "no type declared": ("Ab", [None, "ab"], {}, ""),
    "no schema at all": ({"a": 1}, [{"a": [1]}], None, ""),
    "a list of types": (5, ["", 5], {"type": ["integer", "null"]}, ""),
    "a wrong value under anyOf": (6, [5], {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "x"),
    "items behind a reference": ([{"a": 1}], [[{"a": [1, 2]}]], {"type": "array", "items": {"$ref": "#/x"}}, ""),
    "an array without items": (["A"], [["a"]], {"type": "array"}, ""),
}


@pytest.mark.parametrize(("value", "alternatives", "schema", "fault"), VALUES.values(), ids=VALUES)
def test_both_vocabularies_and_loose_schemas_are_read(value: Any, alternatives: Any, schema: Any, fault: str) -> None:
    assert bool(value_fault(value, alternatives, schema)) == bool(fault)


def test_a_tool_without_listed_parameters_is_judged_by_the_reference_alone() -> None:
    sample = replace(pings("a"), prompt=Prompt((), ({"name": "ping"},)))
    assert verdict(sample, ping("A")).value == 1.0
    assert verdict(sample, ping("b")).reason == "wrong_value"
