"""Rewordings: another way to write a value reads back to the same value, and what might not stays."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_augment import ask, assert_only_the_last_content_differs, augmented, passes, tool

from iterft.augment.request import request_of
from iterft.synth.grounding import ungrounded
from iterft.synth.tasks import generate
from iterft.types import Prompt, Sample, ToolCall

TASKS = generate(4000, 7, "train")
CHANGED = [
    (before, after)
    for before, after in zip(TASKS, augmented(TASKS, reworded_share=1), strict=True)
    if after.id != before.id
]
SMALL = "zero one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
DATE = r"(?:the )?(?:\d{1,2}(?:st|nd|rd|th)? (?:of )?[A-Z][a-z]+,? \d{4}|[A-Z][a-z]+ \d{1,2}(?:st|nd|rd|th)?, \d{4})"
TIME = r"\b(\d{1,2})(?::(\d\d))? ?(am|pm)\b"


def read(text: str) -> str:
    """What a text says, by an own reader: days as 2026-03-05, times as 14:30, numbers in bare digits, percentages with
    the sign, all signs between items alike, no capitals."""
    text = re.sub(DATE, read_day, text, flags=re.IGNORECASE).lower()
    text = re.sub(TIME, lambda found: read_time(*found.groups()), text)
    text = re.sub(r"\b(\d):(\d\d)\b", r"0\1:\2", text)
    for number, word in enumerate(SMALL):
        text = re.sub(rf"\b{word}\b", str(number), text)
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text).replace(" percent", "%")
    return re.sub(r", and |, | and |; ", " + ", text)


def read_day(found: re.Match[str]) -> str:
    plain = re.sub(r"\b(?:the|of) |,|(?<=\d)(?:st|nd|rd|th)\b", "", found[0], flags=re.IGNORECASE)
    for form in ("%d %B %Y", "%B %d %Y"):
        try:
            return datetime.datetime.strptime(plain, form).date().isoformat()
        except ValueError:
            continue
    return found[0]


def read_time(hour: str, minute: str | None, half: str) -> str:
    clock = datetime.datetime.strptime(f"{hour}:{minute or '00'} {half}", "%I:%M %p")
    return f"{clock:%H:%M}"


def test_the_reader_of_this_test_reads_what_people_write() -> None:
    assert read("Three on the 5th of March 2026, 2:30pm") == "3 on 2026-03-05 + 14:30"
    assert read("March 5th, 2026 at 9:15 am: 1,500; 15 percent") == "2026-03-05 at 09:15: 1500 + 15%"
    assert read("12 am and noon") == "00:00 + noon" and read("13 May 2026") != read("12 May 2026")


def test_a_reworded_request_reads_as_before_and_its_reference_stays_right() -> None:
    assert len(CHANGED) > 0.3 * len(TASKS)
    for before, after in CHANGED:
        assert after.id == f"{before.id}+reworded"
        assert request_of(after) != request_of(before)
        assert read(request_of(after)) == read(request_of(before))
        assert passes(after) and ungrounded(after) == ungrounded(before)


def test_one_place_of_the_last_message_changes_and_nothing_else() -> None:
    for before, after in CHANGED:
        assert_only_the_last_content_differs(before, after)


def test_texts_that_are_copied_stay_to_the_letter() -> None:
    num_copied = 0
    for before, after in CHANGED:
        shown = {each["name"]: each["parameters"]["properties"] for each in before.prompt.tools}
        for call in before.answer:
            for name, accepted in call.arguments.items():
                schema = shown[call.name][name]
                if schema["type"] == "string" and not {"enum", "format", "pattern"} & set(schema):
                    for text in accepted:
                        if text and "YYYY" not in schema["description"] and "HH:MM" not in schema["description"]:
                            num_copied += text in request_of(before)
                            assert request_of(after).count(text) == request_of(before).count(text)
    assert num_copied > 500


def parameter(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, **more}


WHOLE, NUMBER, TEXT = parameter("integer"), parameter("number"), parameter("string")
DAY, CLOCK = parameter("string", format="date"), parameter("string", description="When (HH:MM)")
LEVEL = parameter("string", enum=["low", "very_high"])
NAMES = parameter("array", items=TEXT)


def wordings(text: str, schema: dict[str, Any], *values: Any, name: str = "value", **others: Any) -> set[str]:
    """What a request becomes under many seeds, itself left out. `others`: further arguments, texts."""
    shown = tool("run", **{name: schema}, **dict.fromkeys(others, TEXT))
    answer = ToolCall("run", {name: list(values), **{other: [value] for other, value in others.items()}})
    sample = ask("a", text, [shown], answer)
    return {request_of(augmented([sample], seed, reworded_share=1)[0]) for seed in range(40)} - {text}


@pytest.mark.parametrize(
    ("text", "schema", "value", "expected"),
    [
        ("3 rooms", WHOLE, 3, {"Three rooms"}),
        ("Book 3 rooms.", WHOLE, 3, {"Book three rooms."}),
        ("Book three rooms", WHOLE, 3, {"Book 3 rooms"}),
        ("Send 1500 units", WHOLE, 1500, {"Send 1,500 units"}),
        ("Send 1,500 units", NUMBER, 1500.0, {"Send 1500 units"}),
        ("Pay $2000 to me", NUMBER, 2000, {"Pay $2,000 to me"}),
        ("Take 15% off", NUMBER, 15, {"Take 15 percent off"}),
        ("A tip of 15 percent", NUMBER, 0.15, {"A tip of 15%", "A tip of 0.15"}),
        ("A tip of 15%", NUMBER, 15, {"A tip of 15 percent"}),
        ("Make it LOW.", LEVEL, "low", {"Make it low.", "Make it Low."}),
        ("to very high", LEVEL, "very_high", {"to VERY HIGH", "to Very high"}),
        ("at 14:30", CLOCK, "14:30", {"at 2:30 pm", "at 2:30pm"}),
        ("at 9 AM", CLOCK, "09:00", {"at 09:00", "at 9am"}),
        ("ask A, B and C", NAMES, ["A", "B", "C"], {"ask A, B, and C", "ask A; B; C"}),
        (
            "from 2026-03-05 to 2026-03-08",
            DAY,
            "2026-03-05",
            {
                f"from {form} to 2026-03-08"
                for form in ("5 March 2026", "March 5, 2026", "March 5th, 2026", "the 5th of March 2026")
            },
        ),
    ],
)
def test_a_typed_value_is_written_in_every_other_way(text: str, schema: Any, value: Any, expected: set[str]) -> None:
    assert wordings(text, schema, value) == expected


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("find 2026-03-05", TEXT, "2026-03-05"),
        ("find 5 March 2026", TEXT, "2026-03-05"),
        ("find 2:30 pm", TEXT, "14:30"),
        ("find 1500", TEXT, "1500"),
        ("say 'low'", LEVEL, "low"),
        ("run `head 3`", WHOLE, 3),
        ("3 rooms and 3 beds", WHOLE, 3),
        ("3 rooms on 3 May", WHOLE, 3),
        ("three beds, 3 rooms", WHOLE, 3),
        ("the 5 or 3 of them", WHOLE, 3),
        ("3 million people", WHOLE, 3),
        ("3 and a half hours", WHOLE, 3),
        ("use Windows 3", WHOLE, 3),
        ("3 pm", WHOLE, 3),
        ("3 March", WHOLE, 3),
        ("3 + x", WHOLE, 3),
        ("the last one", WHOLE, 1),
        ("made in 1999", WHOLE, 1999),
        ("room 007", WHOLE, 7),
        ("5 to 8 March 2026", DAY, "2026-03-08"),
        ("March 5 or March 8, 2026", DAY, "2026-03-08"),
        ("2026-03-05, not 5 March 2026", DAY, "2026-03-05"),
        ("at 2 or 3 pm", CLOCK, "15:00"),
        ("at 2:30", CLOCK, "14:30"),
        ("14:30 or 2:30 pm", CLOCK, "14:30"),
        ("low or very low", LEVEL, "low"),
        ("a slow one", LEVEL, "low"),
        ("ask D, A, B and C", NAMES, ["A", "B", "C"]),
        ("ask A, B and C and D", NAMES, ["A", "B", "C"]),
    ],
)
def test_what_may_mean_something_else_stays(text: str, schema: Any, value: Any) -> None:
    assert wordings(text, schema, value) == set()


def test_values_that_the_reference_holds_twice_may_leave_out_or_copies_stay() -> None:
    assert wordings("3 rooms", WHOLE, 3, "") == wordings("go low", LEVEL, "low", "") == set()
    assert wordings("3 rooms", WHOLE, 3, "3 rooms") == set()
    assert wordings("3 rooms", WHOLE, 3, title="3 rooms") == set()
    assert wordings("order 1500 now", WHOLE, 1500, name="order_id") == set()
    assert wordings("3 rooms", NUMBER, 3, title="rooms") == {"Three rooms"}
    twice = ToolCall("run", {"value": [3]})
    assert augmented([ask("a", "3 rooms", [tool("run", value=WHOLE)], twice, twice)], reworded_share=1)[0].id == "a"


def test_a_percentage_is_not_misspelt_where_it_is_reworded() -> None:
    request = "Please take 15 per cent off the list price of every garden table"
    discount = tool("discount", share={"type": "number"})
    samples = [ask(f"{n}", request, [discount], ToolCall("discount", {"share": [15]})) for n in range(40)]
    changed = augmented(samples, reworded_share=1, typo_share=1)
    assert all("cent" in request_of(sample) or "%" in request_of(sample) for sample in changed)
    assert any("+reworded" in sample.id and "+typo" in sample.id for sample in changed)


def test_a_decimal_becomes_a_percentage_only_where_both_are_accepted() -> None:
    assert wordings("a rate of 0.15 now", NUMBER, 0.15) == set()
    assert wordings("a rate of 0.15 now", NUMBER, 15, 0.15) == {"a rate of 15% now"}


def test_the_user_is_reworded_where_a_tool_spoke_last_but_not_what_an_earlier_call_copied() -> None:
    def asked_for(argument: str) -> Sample:
        history = (
            {"role": "user", "content": "3 rooms"},
            {"role": "user", "content": "now 4 rooms"},
            {"role": "assistant", "tool_calls": [{"name": "find", "arguments": {"query": argument}}]},
            {"role": "tool", "name": "find", "content": "4"},
        )
        return Sample("a", Prompt(history, (tool("run", value=WHOLE),)), (ToolCall("run", {"value": [4]}),))

    (after,) = augmented([asked_for("rooms")], reworded_share=1)
    assert after.prompt.messages[1]["content"] == "now four rooms"
    assert after.prompt.messages[0::2] == asked_for("rooms").prompt.messages[0::2]
    assert augmented([asked_for("4 rooms")], reworded_share=1)[0].id == "a"


@given(
    st.dates(datetime.date(1000, 1, 1)),
    st.times(),
    st.integers(0, 10**7),
    st.integers(0, 99),
)
def test_any_day_time_and_number_reads_back(day: datetime.date, time: datetime.time, number: int, seed: int) -> None:
    shown = tool("run", day=DAY, clock=CLOCK, amount=WHOLE)
    values = {"day": [day.isoformat()], "clock": [f"{time:%H:%M}"], "amount": [number]}
    sample = ask("a", f"At {time:%H:%M} on {day} take {number} of them", [shown], ToolCall("run", values))
    (after,) = augmented([sample], seed, reworded_share=1)
    assert after.id == "a+reworded" and request_of(after) != request_of(sample)
    assert read(request_of(after)) == read(request_of(sample))
    assert passes(after) and ungrounded(after) == ungrounded(sample) == []


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_so_many_samples_are_reworded_as_were_asked_for(share: float) -> None:
    mixed = augmented(TASKS, reworded_share=share)
    assert sum(sample.id.endswith("+reworded") for sample in mixed) == round(share * len(mixed))
    assert mixed == augmented(TASKS, reworded_share=share)
    assert {sample.id for sample in mixed} != {sample.id for sample in augmented(TASKS, 1, reworded_share=share)}


def test_typos_and_rewordings_do_not_hinder_each_other() -> None:
    both = augmented(TASKS, reworded_share=0.3, typo_share=0.5, masked_share=0.3)
    alone = {sample.id for sample in augmented(TASKS, typo_share=0.5)}
    assert {re.sub(r"\+(masked|reworded)", "", sample.id) for sample in both} == alone
    changes = Counter(sample.id.partition("+")[2] for sample in both)
    assert changes["reworded+typos"] > 200 and changes["masked+reworded+typos"] > 100
    reworded = {sample.id: sample for sample in augmented(TASKS, reworded_share=0.3)}
    for sample in both:
        if sample.id.endswith("+reworded+typos") and "masked" not in sample.id:
            without = reworded[sample.id.removesuffix("+typos")]
            assert ungrounded(sample) == ungrounded(without)
    assert all(map(passes, both))
