"""The verifier's objections to half-written turns: exact, early, named and fast."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import pytest
from lines import lines_run

from iterft.rewards.call_match import CallMatch
from iterft.types import PartialTurn, Prompt, Sample, ToolCall, Trajectory, Turn

judge = CallMatch()

BOOK = {
    "name": "book",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "seats": {"type": "integer"}, "budget": {"type": "number"}},
        "required": ["city"],
    },
}
PING = {"name": "ping", "parameters": {"type": "object", "properties": {"host": {"type": "string"}}, "required": []}}
BOOKING = ToolCall("book", {"city": ["New York, NY", "NYC"], "seats": [4], "budget": [50.0, ""]})
RIGHT = {"city": "NYC", "seats": 4}


def sample_of(*answer: ToolCall) -> Sample:
    return Sample("s", Prompt((), (BOOK, PING)), answer)


def ping(host: str) -> ToolCall:
    return ToolCall("ping", {"host": host})


def pings(*hosts: str) -> Sample:
    return sample_of(*(ToolCall("ping", {"host": [host]}) for host in hosts))


def opened(name: str | None = None, closed: tuple[ToolCall, ...] = (), **kept: Any) -> PartialTurn:
    return PartialTurn(calls=closed, in_call=True, open_name=name, **kept)


NOT_OBJECTED = {
    "nothing": (pings("a"), PartialTurn()),
    "prose before the calls": (pings("a"), PartialTurn(content="Let me see.")),
    "prose where no call is right": (sample_of(), PartialTurn(content="I cannot.")),
    "a call opened": (pings("a"), opened()),
    "its name": (pings("a"), opened("ping")),
    "the second entry first": (pings("a", "b"), opened("ping", open_arguments={"host": "b"})),
    "one closed, one open": (pings("a", "b"), opened("ping", (ping("b"),), open_arguments={"host": "a"})),
    "another call announced": (pings("a", "b"), PartialTurn(calls=(ping("b"),), expects="call")),
    "an optional argument announced": (
        sample_of(BOOKING),
        opened("book", open_arguments=RIGHT, expects="argument"),
    ),
}


@pytest.mark.parametrize(("sample", "partial"), NOT_OBJECTED.values(), ids=NOT_OBJECTED)
def test_there_is_no_objection_while_an_accepted_answer_remains(sample: Sample, partial: PartialTurn) -> None:
    assert judge.objection(sample, partial) == ""


OBJECTED = {
    "a malformed turn": (pings("a"), PartialTurn(error="two names"), "unparsable"),
    "finished without the call": (pings("a"), PartialTurn(content="No.", finished=True), "no_call"),
    "finished too early": (pings("a", "b"), PartialTurn(calls=(ping("a"),), finished=True), "missing_call"),
    "no further call possible": (
        pings("a", "b"),
        PartialTurn(calls=(ping("a"),), no_more_calls=True),
        "missing_call",
    ),
    "prose that rules out calls": (pings("a"), PartialTurn(content="I", no_more_calls=True), "no_call"),
    "a call opened where none is right": (sample_of(), opened(), "unneeded_call"),
    "a call announced where none is right": (sample_of(), PartialTurn(expects="call"), "unneeded_call"),
    "an unknown name": (pings("a"), opened("pong"), "unknown_tool"),
    "another tool's name": (pings("a"), opened("book"), "wrong_tool"),
    "a wrong value": (pings("a", "b"), opened("ping", open_arguments={"host": "c"}), "wrong_value"),
    "the value of a closed call": (
        pings("a", "b"),
        opened("ping", (ping("a"),), open_arguments={"host": "a"}),
        "wrong_value",
    ),
    "a call too many opened": (pings("a"), opened(closed=(ping("a"),)), "extra_call"),
    "a call too many announced": (pings("a"), PartialTurn(calls=(ping("a"),), expects="call"), "extra_call"),
    "an argument too many announced": (
        pings("a"),
        opened("ping", open_arguments={"host": "a"}, expects="argument"),
        "unknown_parameter",
    ),
    "a call closed too early": (
        sample_of(BOOKING),
        PartialTurn(calls=(ToolCall("book", {"city": "NYC"}),)),
        "missing_parameter",
    ),
}


@pytest.mark.parametrize(("sample", "partial", "reason"), OBJECTED.values(), ids=OBJECTED)
def test_an_objection_names_the_reason_as_soon_as_no_accepted_answer_remains(
    sample: Sample, partial: PartialTurn, reason: str
) -> None:
    assert judge.objection(sample, partial) == reason


def test_an_objection_is_raised_exactly_when_no_continuation_is_accepted() -> None:
    """All turns over three hosts and up to three calls, against random overlapping entries."""
    rng = random.Random(0)
    turns = [tuple(map(ping, hosts)) for num_calls in range(4) for hosts in product("abc", repeat=num_calls)]
    for _ in range(40):
        entries = [rng.sample("abc", rng.randint(1, 3)) for _ in range(rng.randint(0, 3))]
        sample = sample_of(*(ToolCall("ping", {"host": hosts}) for hosts in entries))
        accepted = [turn for turn in turns if judge(Trajectory(sample, (Turn("", turn),))).value == 1.0]
        for turn in turns:
            remains = any(other[: len(turn)] == turn for other in accepted)
            assert (judge.objection(sample, PartialTurn(calls=turn)) == "") == remains
            if turn:
                *closed, last = turn
                partial = opened("ping", tuple(closed), open_arguments=last.arguments)
                assert (judge.objection(sample, partial) == "") == remains


def test_once_raised_an_objection_stays() -> None:
    sample = pings("a", "b")
    for hosts in product("abc", repeat=3):
        calls = tuple(map(ping, hosts))
        objections = [bool(judge.objection(sample, PartialTurn(calls=calls[:end]))) for end in range(4)]
        assert objections == sorted(objections)


def test_an_objection_is_found_in_less_than_500_lines() -> None:
    partial = opened("book", (ping("b"),), open_arguments={**RIGHT, "budget": 50})
    sample = sample_of(BOOKING, *pings("a", "b").answer)
    assert judge.objection(sample, partial) == "", "what is worked out once a sample is not counted"
    assert lines_run(lambda: judge.objection(sample, partial)) < 500
