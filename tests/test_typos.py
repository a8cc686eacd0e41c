"""Typos: made as people make them, never in what the reference takes its values from, nor into another word."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_augment import ask, assert_only_the_last_content_differs, augmented, passes, tool

from iterft.augment.request import edited, request_of, texts_in
from iterft.augment.typos import NEIGHBOURS, kept_words, typos, words_known
from iterft.readers.parts import as_answer
from iterft.rollout import reference_calls
from iterft.synth.grounding import ungrounded
from iterft.synth.tasks import generate
from iterft.types import Prompt, Sample, ToolCall

TASKS = generate(4000, 7, "train")
CHANGED = [
    (before, after)
    for before, after in zip(TASKS, augmented(TASKS, typo_share=1), strict=True)
    if after.id != before.id
]
WORDS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=9)


def test_nearly_every_request_has_a_place_for_a_typo() -> None:
    assert len(CHANGED) > 0.9 * len(TASKS)
    assert {after.id.removeprefix(before.id) for before, after in CHANGED} == {"+typos"}


def test_only_the_last_message_of_the_user_changes_and_the_reference_passes() -> None:
    for before, after in CHANGED:
        assert request_of(after) != request_of(before)
        assert passes(after)
        assert_only_the_last_content_differs(before, after)


def test_what_was_said_of_the_values_is_still_said() -> None:
    num_values = 0
    for before, after in CHANGED:
        assert ungrounded(after) == ungrounded(before)
        said, still = request_of(before).lower(), request_of(after).lower()
        for text in texts_in([list(call.arguments.values()) for call in before.answer]):
            form = rf"(?<!\w){re.escape(text.lower())}(?!\w)"
            count = len(re.findall(form, said)) if text else 0
            num_values += count > 0
            assert not count or len(re.findall(form, still)) == count, (text, still)
    assert num_values > 3000


def test_numbers_quotes_addresses_and_names_stay_to_the_letter() -> None:
    for before, after in CHANGED:
        for form in (r'"[^"]*"', r"\S*[\d@/_#]\S*\w", r"(?<=[a-z,] )[A-Z]\w+"):
            assert re.findall(form, request_of(after)) == re.findall(form, request_of(before))


def test_each_typo_is_one_slip_of_the_fingers_and_no_word_of_the_data() -> None:
    known, sorts = words_known(TASKS), Counter[str]()
    for before, after in CHANGED:
        words, written = request_of(before).split(), request_of(after).split()
        assert len(words) == len(written)
        hurt = [pair for pair in zip(words, written, strict=True) if pair[0] != pair[1]]
        for word, slip in hurt:
            parts = [(word, slip)]
            if slip[-1:] != word[-1:] and word[-1] in ".!?":  # the last sign may be lost besides
                sorts["sign"] += 1
                parts = [(word[:-1], slip)]
            for plain, typed in parts:
                if plain != typed:
                    sort = sort_of(plain, typed)
                    assert sort == "capital" or typed.strip("(.,!?;:)").lower() not in known, (word, slip)
                    sorts[sort] += 1
    assert set(sorts) == {"sign", "capital", "neighbour", "swapped", "dropped", "doubled"}
    assert min(sorts.values()) > 0.02 * sorts.total()


def sort_of(word: str, slip: str) -> str:
    """Told without the module: by the letters that differ."""
    at = next(at for at in range(len(word) + 1) if word[at : at + 1] != slip[at : at + 1])
    if slip == word[:1].lower() + word[1:]:
        return "capital"
    if len(slip) == len(word):
        if slip[at : at + 2] == word[at : at + 2][::-1]:
            assert slip[at + 2 :] == word[at + 2 :]
            return "swapped"
        assert slip[at + 1 :] == word[at + 1 :] and slip[at] in NEIGHBOURS[word[at]]
        return "neighbour"
    if len(slip) < len(word):
        assert slip == word[:at] + word[at + 1 :]
        return "dropped"
    assert slip == word[:at] + slip[at] + word[at:] and slip[at - 1] == slip[at]
    return "doubled"


def test_about_one_word_in_ten_is_hurt_and_at_least_one() -> None:
    words = "please kindly gather those reports about rivers across northern valleys because people wander there often"
    sample = ask("a", " ".join(8 * [words]) + ".", [tool("run")])
    counts = [len(typos(set(), sample, request_of(sample), Random(seed))) for seed in range(200)]
    assert {10, 14} <= set(counts) <= set(range(9, 16))
    short = ask("a", "please kindly help", [tool("run")])
    assert all(len(typos(set(), short, request_of(short), Random(seed))) == 1 for seed in range(20))


@given(st.lists(WORDS, min_size=1, max_size=30), st.data())
def test_whatever_words_the_reference_takes_they_stay(words: list[str], data: Any) -> None:
    start = data.draw(st.integers(0, len(words) - 1))
    value = " ".join(words[start : data.draw(st.integers(start + 1, len(words)))])
    sample = ask("a", " ".join(words), [tool("find", query={"type": "string"})], ToolCall("find", {"query": [value]}))
    edits = typos(set(), sample, request_of(sample), Random(data.draw(st.integers(0, 99))))
    after = edited(request_of(sample), edits)
    assert f" {value} " in f" {after} "
    kept = kept_words(sample)
    assert all(not kept.holds(word) for word in set(after.split()) - set(words))


@pytest.mark.parametrize(
    "request_text",
    [
        'Say "wonderful morning everybody"',
        "Run `select everything from customers`",
        "write to somebody@example.com",
        "open https://example.com/reports",
        "return total = price * amount;",
        "compute(price, amount)",
        "<system>",
        '{"name": "somebody"} [other, things]',
        "ask Angela Merkel",
        "fifteen tickets, Saturday morning",
        "A-B-C d1e2f3a4",
        "",
    ],
)
def test_what_is_no_plain_word_has_no_typo(request_text: str) -> None:
    sample = ask("a", request_text, [tool("run")], ToolCall("run", {"words": [["write open tickets", "says"]]}))
    for seed in range(30):
        edits = typos(set(), sample, request_text, Random(seed))
        assert all(edit.text == "" or request_text[edit.start : edit.end].lower() == edit.text for edit in edits), edits


def test_the_words_of_flags_enums_earlier_calls_and_cited_words_stay() -> None:
    schema = {"type": "object", "properties": {"speed": {"type": "string", "enum": ["slow", "overnight"]}}}
    shown = {"name": "send", "description": "", "parameters": schema}
    history = (
        {"role": "user", "content": "hello there"},
        {"role": "user", "content": "gift parcel overnight euros lantern"},
        {"role": "assistant", "tool_calls": [{"name": "send", "arguments": {"what": "lantern"}}]},
        {"role": "tool", "name": "send", "content": "parcels"},
    )
    answer = (as_answer(ToolCall("send", {"isGift": True, "what": "parcels"})),)
    sample = Sample("a", Prompt(history, (shown,)), answer, thought='send: currency = EUR ("euros")')
    assert reference_calls(sample)
    assert augmented([sample], typo_share=1) == [sample]
    (after,) = augmented([replace(sample, thought="")], typo_share=1)
    assert after.id == "a+typos" and after.prompt.messages[0] == history[0] and after.prompt.messages[2:] == history[2:]
    assert re.fullmatch(r"gift parcel overnight (?!euros)\w+ lantern", after.prompt.messages[1]["content"])


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_so_many_samples_have_typos_as_were_asked_for(share: float) -> None:
    mixed = augmented(TASKS, typo_share=share, no_call_share=0.2)
    assert sum(sample.id.endswith("+typos") for sample in mixed) == round(share * len(mixed))
    assert mixed == augmented(TASKS, typo_share=share, no_call_share=0.2)
    assert {sample.id for sample in mixed} != {sample.id for sample in augmented(TASKS, 1, typo_share=share)}
