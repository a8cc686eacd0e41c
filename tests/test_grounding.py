"""Which values were said, and which were made up."""

from __future__ import annotations

from typing import Any

import pytest

from iterft.synth.grounding import ungrounded
from iterft.types import Prompt, Sample, ToolCall


def sample(said: str, **arguments: Any) -> Sample:
    accepted = {name: [value] for name, value in arguments.items()}
    return Sample("s", Prompt(({"role": "user", "content": said},), ()), (ToolCall("f", accepted),))


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("in New York, please", "new york"),
        ("a blue_green deployment", "blue-green"),
        ("for 1,200 euros", 1200),
        ("three of them", 3),
        ("how many: five?", 5),
        ("12.50 dollars", 12.5),
        ("minus: -4", -4),
        ("on May 3rd, 2026", "2026-05-03"),
        ("the 3rd of May 2026", "2026-05-03"),
        ("2026-05-03", "2026-05-03"),
        ("on 3 May 2026 at 2:30 pm", "2026-05-03T14:30:00"),
        ("at 2pm", "14:00"),
        ("at noon", "12:00"),
        ("Ana and Ben", ["Ana", "Ben"]),
        ("street Elm, floor 4", {"street": ["Elm"], "floor": [4]}),
    ],
)
def test_what_was_said_is_found(said: str, value: Any) -> None:
    assert ungrounded(sample(said, x=value)) == []


@pytest.mark.parametrize(
    ("said", "value", "where"),
    [
        ("in Oslo", "Bergen", "f: x"),
        ("for 12 euros", 1, "f: x"),
        ("for 1,200 euros", 1201, "f: x"),
        ("on May 4th, 2026", "2026-05-03", "f: x"),
        ("on 3 May 2026 at 2:30 pm", "2026-05-03T15:30:00", "f: x"),
        ("Ana", ["Ana", "Ben"], "f: x[]"),
        ("street Elm", {"street": ["Elm"], "floor": [4]}, "f: x.floor"),
        ("euros", "EUR", "f: x"),
        ("on 13 May 2026", "2026-05-03", "f: x"),
        ("pounds", "GBP", "f: x"),
    ],
)
def test_what_was_not_said_is_named(said: str, value: Any, where: str) -> None:
    assert ungrounded(sample(said, x=value)) == [where]


def test_truth_is_said_by_the_name_of_the_parameter() -> None:
    assert ungrounded(sample("with gift wrap on", gift_wrap=True)) == []
    assert ungrounded(sample("for me", gift_wrap=True)) == ["f: gift_wrap"]


def test_results_of_tools_count_and_what_may_be_left_out_need_not_be_said() -> None:
    messages = ({"role": "user", "content": "go on"}, {"role": "tool", "content": '{"order_id": "ord_17"}'})
    call = ToolCall("f", {"order_id": ["ord_17"], "limit": [10, ""]})
    assert ungrounded(Sample("s", Prompt(messages, ()), (call,))) == []
    assert ungrounded(Sample("s", Prompt(messages, ()), (ToolCall("f", {"limit": [10]}),))) == ["f: limit"]
