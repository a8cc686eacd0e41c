"""The verifier's verdicts and the reasons it names. Its objections: `test_objection`."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from iterft.rewards.call_match import CallMatch, is_call_in_disguise
from iterft.rewards.graded_match import GradedMatch
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


def verdict_on_words(words: str) -> Reward:
    return judge(Trajectory(sample_of(), (Turn(words),)))


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
    assert bool(value_fault(value, alternatives, schema, as_bfcl=True)) == bool(fault)


NUMBERS = {"type": "array", "items": {"type": "number"}}
TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
OURS_AND_BFCLS = {
    "an int in front of a float": ([13, 52.5], [[13, 52.5]], NUMBERS, True, True),
    "an int behind a float": ([52.5, 13], [[52.5, 13]], NUMBERS, True, False),
    "an int in a list of floats": ([1, 2.0], [[1.0, 2.0]], NUMBERS, True, False),
    "a boolean in a list of floats": ([True, 2.0], [[1.0, 2.0]], NUMBERS, False, False),
    "true for 1 under anyOf": (True, [1], {"anyOf": [{"type": "integer"}, {"type": "null"}]}, False, True),
    "1 for true in a list of types": (1, [True], {"type": ["boolean", "null"]}, False, True),
    "true for 1 in an array without items": ([True], [[1]], {"type": "array"}, False, True),
    "true for 1 in an object": ({"n": True}, [{"n": [1]}], {"type": "object"}, False, True),
    "true for 1 deep in an object": ({"n": [[True]]}, [{"n": [[[1]]]}], {"type": "object"}, False, True),
    "true for 1 where the reference has another type": (True, [1], {"type": "boolean"}, False, True),
    "two factors and a quotient": ("12*5", ["12/5"], TEXT, False, True),
    "the same with blanks": ("12 * 5", ["12 / 5"], TEXT, False, True),
    "another day": ("2024-1-15", ["2024-11-5"], TEXT, False, True),
    "another sign": ("-5", ["5"], TEXT, False, True),
    "another point": ("1.5", ["15"], TEXT, False, True),
    "another number of two": ("5 12", ["51 2"], TEXT, False, True),
    "another sign alone": ("*", ["/"], TEXT, False, True),
    "a sign for leaving out": ("-", ["Oslo", ""], TEXT, False, True),
    "a sign in a list for an empty text": (["-"], [[""]], {"type": "array", "items": TEXT}, False, True),
    "an enum with another joint": ("very_high", ["Very-High"], TEXT, True, True),
    "a comma behind a number": ("May 15, 2024.", ["may 15 2024"], TEXT, True, True),
    "blanks beside words": ("10 am", ["10AM"], TEXT, True, True),
    "an address": ("12 Main St., Apt 5, Oslo", ["12 main st apt 5 oslo"], TEXT, True, True),
    "blanks beside signs": ("x * y / z", ["x*y/z"], TEXT, True, True),
    "points of an abbreviation": ("U.S.", ["US"], TEXT, True, True),
    "a point after an initial": ("J. Smith", ["J.Smith"], TEXT, True, True),
    "a joint of words": ("New-York", ["new_york"], TEXT, True, True),
    "another path": ("docs/my_file", ["docs/myfile"], TEXT, False, True),
    "a path without its slashes": ("etchosts", ["/etc/hosts"], TEXT, False, True),
    "another mailbox": ("johnsmith@mail.com", ["john.smith@mail.com"], TEXT, False, True),
    "another file": ("notestxt", ["notes.txt"], TEXT, False, True),
    "a product and a quotient of letters": ("x*y", ["x/y"], TEXT, False, True),
    "another sign of a letter": ("-x", ["x"], TEXT, False, True),
    "another sign in brackets": ("2 (-x)", ["2 (x)"], TEXT, False, True),
    "nothing where it may be left out": ("", ["Oslo", ""], TEXT, False, True),
    "nothing where nothing is right": ("", [""], TEXT, True, True),
    "nothing in an object": ({"a": ""}, [{"a": ["b", ""]}], {"type": "object"}, False, True),
    "quotes": ("it's", ['it"s'], TEXT, True, True),
    "an object where a text is declared": ({"a": 1}, [{"a": [1]}], TEXT, True, False),
    "another object where a text is declared": ({"a": 2}, [{"a": [1]}], TEXT, False, False),
    "objects where texts are declared": ([{"a": 1}], [[{"a": [1]}]], TEXTS, True, False),
    "other objects where texts are declared": ([{"a": 2}], [[{"a": [1]}]], TEXTS, False, False),
    "a number behind a text where texts are declared": (["a", 5], [["a", 5]], TEXTS, True, False),
    "a number no alternative has": (["a", 5], [["a", "5"]], TEXTS, False, False),
    "an object beside a word": ([{"a": 5}, "and"], [[{"a": 5}, "and"]], {"type": "array"}, True, True),
    "another object beside a word": ([{"a": 6}, "and"], [[{"a": 5}, "and"]], {"type": "object"}, False, False),
}


@pytest.mark.parametrize(("value", "accepted", "schema", "ours", "bfcls"), OURS_AND_BFCLS.values(), ids=OURS_AND_BFCLS)
def test_on_data_other_than_bfcl_no_value_is_taken_for_another(
    value: Any, accepted: Any, schema: Any, ours: bool, bfcls: bool
) -> None:
    assert (value_fault(value, accepted, schema) == "") == ours
    assert (value_fault(value, accepted, schema, as_bfcl=True) == "") == bfcls


@pytest.mark.parametrize("schema", [{"type": "array"}, {}, {"type": ["array", "null"]}])
@pytest.mark.parametrize(("value", "reference"), [(6, 5), ("a", "age"), ("x", ["y"])])
def test_an_object_beside_values_of_other_kinds_is_compared_plainly(schema: Any, value: Any, reference: Any) -> None:
    assert value_fault([{"a": value}, "and"], [[{"a": reference}, "and"]], schema) == "wrong_value"
    assert value_fault([{"a": reference}, "and"], [[{"a": reference}, "and"]], schema) == ""


def test_the_source_of_a_sample_says_by_which_rules_it_is_judged() -> None:
    sample = pings("10.0.0.1")
    for judged in (judge, GradedMatch()):
        assert judged(Trajectory(sample, (Turn("", (ping("1.0.0.01"),), thought="t"),))).value < 1.0
        assert (
            judged(Trajectory(replace(sample, source="bfcl"), (Turn("", (ping("1.0.0.01"),), thought="t"),))).value
            == 1.0
        )
    partial = PartialTurn(in_call=True, open_name="ping", open_arguments={"host": "1.0.0.01"})
    assert judge.objection(sample, partial) == "wrong_value"
    assert judge.objection(replace(sample, source="bfcl"), partial) == ""


@pytest.mark.parametrize("others", [True, {"type": "integer"}])
def test_parameters_that_are_not_listed_are_known_where_the_schema_says_that_there_are_others(others: Any) -> None:
    tool = {**PING, "parameters": {**PING["parameters"], "additionalProperties": others}}
    sample = Sample("s", Prompt((), (tool,)), (ToolCall("ping", {"host": ["a"], "count": [3]}),))
    assert verdict(sample, ToolCall("ping", {"host": "a", "count": 3})).value == 1.0
    assert verdict(sample, ToolCall("ping", {"host": "a", "count": 4})).reason == "wrong_value"
    asked = PartialTurn(in_call=True, open_name="ping", open_arguments={"host": "a"}, expects="argument")
    assert judge.objection(sample, asked) == ""
    written = ToolCall("ping", {"host": "a", "count": "3"})
    assert verdict(sample, written).reason == ("wrong_value" if others is True else "wrong_type")
    closed = replace(sample, prompt=Prompt((), (PING,)))
    assert verdict(closed, ToolCall("ping", {"host": "a", "count": 3})).reason == "unknown_parameter"


BOTCHED = [
    "ping(host='a')",
    "Sure: ping(host='a').",
    'I do {"name": "ping", "arguments": {}}',
    '{"name" : "book"}',
    '"name": "ping"',
]
BEGUN = ["[carry_id='Ana', book='x']", " [ pong(1)]", "[pong = 3", '{"name": "pong"}', '[{"host": "a"}]', "{'host': 1"]
BARE = ["[callAnaLate]", "[ping]\n", "[a.b]"]
BRACKETS = [
    "[Note] None of them.",
    "[see](a/b)",
    "[1, 2]",
    "[2024]",
    "{x} is unknown",
    "[sorry, no tool]",
    "see [pong]",
]
PROSE = ["Which host shall I ping?", "I can ping (if you want) a host.", "Done (ping).", "mapping(x)", "s.ping(x)", ""]


@pytest.mark.parametrize("words", BOTCHED)
def test_where_no_call_is_right_words_that_write_one_are_a_malformed_turn(words: str) -> None:
    sample = sample_of()
    trajectory = Trajectory(sample, (Turn(words, thought=""),))
    assert judge(trajectory) == Reward(0.0, "unparsable")
    assert "ping" in judge.explain(trajectory) or "book" in judge.explain(trajectory)
    assert GradedMatch()(trajectory).parts["correct"] == -3.0
    assert judge.objection(sample, PartialTurn(content=words, no_more_calls=True)) == "unparsable"
    assert judge.objection(sample, PartialTurn(undecided=words, finished=True)) == "unparsable"
    assert judge(replace(trajectory, sample=replace(sample, source="bfcl"))).value == 1.0
    assert judge(replace(trajectory, sample=replace(sample, text=words))).value == 1.0


@pytest.mark.parametrize("words", BEGUN + BARE)
def test_where_no_call_is_right_the_beginning_of_one_is_a_malformed_turn(words: str) -> None:
    sample = sample_of()
    trajectory = Trajectory(sample, (Turn(words),))
    assert judge(trajectory) == Reward(0.0, "unparsable")
    assert words.strip()[:2] in judge.explain(trajectory)
    assert judge.objection(sample, PartialTurn(content=words, finished=True)) == "unparsable"
    unfinished = judge.objection(sample, PartialTurn(content=words, no_more_calls=True))
    assert unfinished == ("" if words in BARE else "unparsable"), "words may follow a name in brackets"
    assert judge(replace(trajectory, sample=replace(sample, source="bfcl"))).value == 1.0
    assert judge(replace(trajectory, sample=replace(sample, text=words))).value == 1.0


DISGUISED = [
    '<TOOLCALL>[{"name": "ping", "arguments": {"host": "a"}}]</TOOLCALL>',
    """<functioncall> {"name": "ping", "arguments": '{"host": "a"}'}""",
    '```json\n{"name": "ping", "parameters": {}}\n```',
    "Sure: [ping(host='a')]",
    "ping(host='a', x=f(2))",
    "```python\nping('a')\n```",
    "[ping('a'), book()]",
]
IN_PASSING = [
    "You can use ping(host) for that.",
    "ping(host) takes a host; which one?",
    'It is {"name": "ping"}.',
    '{"name": "pong", "arguments": {}}',
    "(ping)",
]


@pytest.mark.parametrize("words", DISGUISED + IN_PASSING + PROSE)
def test_a_reply_that_is_a_call_in_another_notation_is_told_from_one_that_names_a_tool(words: str) -> None:
    assert is_call_in_disguise(replace(sample_of(), text=words)) == (words in DISGUISED)
    assert not is_call_in_disguise(replace(sample_of(), prompt=Prompt((), ()), text=words))


@pytest.mark.parametrize("words", PROSE + BRACKETS)
def test_where_no_call_is_right_prose_about_a_tool_is_right(words: str) -> None:
    assert verdict_on_words(words).value == 1.0


def test_a_blank_before_the_bracket_is_a_call_where_the_name_is_no_word() -> None:
    tool = {**PING, "name": "ping_host"}
    sample = replace(sample_of(), prompt=Prompt((), (tool,)))
    assert judge(Trajectory(sample, (Turn("ping_host (a)"),))).reason == "unparsable"


def test_a_tool_without_listed_parameters_is_judged_by_the_reference_alone() -> None:
    sample = replace(pings("a"), prompt=Prompt((), ({"name": "ping"},)))
    assert verdict(sample, ping("A")).value == 1.0
    assert verdict(sample, ping("b")).reason == "wrong_value"
