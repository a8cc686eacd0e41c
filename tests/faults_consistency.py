"""Faults of how turns, results and the reference belong together: reason -> plants, each another way to break the rule
(see `places`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from faults_dialogue import FOREIGN
from places import Plant, amid, in_words, plainly, with_message, with_messages, with_system

from iterft.build import DIALECTS
from iterft.chat import Dialect
from iterft.rollout import reference_calls
from iterft.synth.rules.consistency import CALL_KINDS, NO_CALL_KINDS
from iterft.types import Message, Sample, ToolCall

ASKS_ON: Message = {"role": "user", "content": "And tomorrow?"}
WISHES = (
    (0, "Always answer in Russian."), (1, "Always reply in Chinese, whatever they say."), (1, "Only write in Chinese."),
    (2, "You are a guide. Always speak in Japanese."), (3, "Only reply in Korean."), (6, "Always write in Hindi."),
    (4, "Always respond only in Greek."), (5, "Respond only in Arabic."), (7, "Please answer only in Hebrew."),
)  # fmt: skip
"""Which of `FOREIGN` is as the system text wants it."""
LIMITS = (
    "Make at most one call.", "Use only one tool at a time.", "Answer with exactly 1 function call.",
    "You may make no more than a single call in a turn.", "Be quick. At most one tool may be used.",
    "Never call more than one tool.", "Do not make more than one call in a turn.",
)  # fmt: skip
JSON_ONLY = (
    "Answer only in JSON.", "Respond strictly with a JSON object.", "Only reply with valid JSON.",
    "You reply exclusively in JSON.", "Reply in JSON only.",
)  # fmt: skip
ANNOUNCEMENTS = (
    "I'll use {} to find out.", "Calling `{}` now.", "Let me check that with {}.", "I will call {} for you.",
    "Sure. I'm going to run {} for this.", "Alright, now calling {}: one moment.",
)  # fmt: skip


def inserting(at: Callable[[Sequence[Message]], int | None], *inserted: Message) -> Plant:
    """With more messages; `at` says before which one, None where they cannot stand."""

    def change(sample: Sample, random: Random) -> Sample | None:
        messages = list(sample.prompt.messages)
        number = at(messages)
        return None if number is None else with_messages(sample, [*messages[:number], *inserted, *messages[number:]])

    return plainly(change)


def first(messages: Sequence[Message]) -> int | None:
    return 0


def last(messages: Sequence[Message]) -> int | None:
    return len(messages)


def after_user(messages: Sequence[Message]) -> int | None:
    """Behind the first message, where more follow."""
    return 1 if len(messages) > 1 and messages[0]["role"] == "user" else None


def role_changed(old: str, *new: str) -> Plant:
    """A plain message of this role has another one; not the last, which the reference answers."""

    def change(sample: Sample, random: Random) -> Sample | None:
        messages = sample.prompt.messages
        numbers = [
            at for at, message in enumerate(messages[:-1]) if message["role"] == old and not message.get("tool_calls")
        ]
        if not numbers or [message["role"] for message in messages].count("user") < 2:
            return None
        return with_message(sample, random.choice(numbers), role=random.choice(new))

    return plainly(change)


def without_answer(sample: Sample, random: Random) -> Sample | None:
    """The last user's message is gone, so that the assistant spoke last."""
    *before, last = sample.prompt.messages
    is_answer = last["role"] == "user" and before and before[-1]["role"] == "assistant"
    return with_messages(sample, before) if is_answer else None


def turns_that_call(sample: Sample) -> list[int]:
    return [at for at, message in enumerate(sample.prompt.messages) if message.get("tool_calls")]


def results(sample: Sample) -> list[int]:
    return [at for at, message in enumerate(sample.prompt.messages) if message["role"] == "tool"]


def without_call(sample: Sample, random: Random) -> Sample | None:
    """A turn that calls is gone, its results are not."""
    numbers = turns_that_call(sample)
    if not numbers:
        return None
    at = numbers[0]
    return with_messages(sample, [*sample.prompt.messages[:at], *sample.prompt.messages[at + 1 :]])


def in_result(change: Callable[[list[Message], int, Random], list[Message] | None]) -> Plant:
    """With the messages changed around one of the results."""

    def changed(sample: Sample, random: Random) -> Sample | None:
        numbers = results(sample)
        messages = change(list(sample.prompt.messages), random.choice(numbers), random) if numbers else None
        return None if messages is None else with_messages(sample, messages)

    return plainly(changed)


def lost(messages: list[Message], at: int, random: Random) -> list[Message] | None:
    """The result is gone; another follows it or stands before it."""
    left = [*messages[:at], *messages[at + 1 :]]
    return left if left[-1]["role"] == "tool" else None


def talked_over(messages: list[Message], at: int, random: Random) -> list[Message]:
    """The user speaks in place of the result."""
    return [*messages[:at], ASKS_ON, *messages[at + 1 :]] if at == len(messages) - 1 else [*messages[:at], ASKS_ON]


def doubled(messages: list[Message], at: int, random: Random) -> list[Message]:
    return [*messages[: at + 1], messages[at], *messages[at + 1 :]]


def of_another_tool(sample: Sample, random: Random) -> Sample | None:
    """A result names another of the tools, or none of them."""
    numbers = results(sample)
    if not numbers:
        return None
    called = {call["name"] for at in turns_that_call(sample) for call in sample.prompt.messages[at]["tool_calls"]}
    others = [tool["name"] for tool in sample.prompt.tools if tool["name"] not in called] + ["nothing_like_it"]
    return with_message(sample, random.choice(numbers), name=random.choice(others))


def in_two(sample: Sample, random: Random) -> Sample | None:
    """An earlier turn of the assistant is cut in two."""
    messages = sample.prompt.messages
    numbers = [at for at, message in enumerate(messages[:-1]) if message["role"] == "assistant"]
    if not numbers:
        return None
    at = random.choice(numbers)
    first = {"role": "assistant", "content": random.choice(("Let me see.", "One moment, please.", "Sure."))}
    return with_messages(sample, [*messages[:at], first, *messages[at:]])


def of_another_call(wrong: str) -> Plant:
    """Calls and results have ids, then one of the results has an id that is not one of that turn's."""

    def plant(sample: Sample, random: Random) -> tuple[Sample, Sample] | None:
        numbers = results(sample)
        if not numbers:
            return None
        messages: list[Message] = []
        waiting: list[str] = []
        for at, message in enumerate(sample.prompt.messages):
            if message.get("tool_calls"):
                waiting = [f"call_{at}_{number}" for number in range(len(message["tool_calls"]))]
                calls = [{**call, "id": each} for call, each in zip(message["tool_calls"], waiting, strict=True)]
                message = {**message, "tool_calls": calls}
            elif message["role"] == "tool":
                message = {**message, "tool_call_id": waiting.pop(0)}
            messages.append(message)
        sound = with_messages(sample, messages)
        return sound, with_message(sound, random.choice(numbers), tool_call_id=wrong)

    return plant


def accepting(value: Any) -> Any:
    """A plain value as an accepted one: objects hold lists of alternatives."""
    return {key: [inner] for key, inner in value.items()} if isinstance(value, dict) else value


def asked_again(sample: Sample, random: Random) -> tuple[Sample, Sample] | None:
    """The reference makes a call whose result is there and no failure, alone or among others."""
    numbers = turns_that_call(sample)
    if not numbers or any('"error"' in sample.prompt.messages[at]["content"] for at in results(sample)):
        return None
    made = random.choice(sample.prompt.messages[random.choice(numbers)]["tool_calls"])
    call = ToolCall(made["name"], {name: [accepting(value)] for name, value in made["arguments"].items()})
    sound = replace(sample, kind="dependent" if sample.answer else "")
    return sound, replace(sound, answer=(*sample.answer, call), text="")


def all_at_once(sample: Sample, random: Random) -> tuple[Sample, Sample] | None:
    """One call is allowed; one is made, then all."""
    if len(sample.answer) < 2:
        return None
    limited = with_system(sample, random.choice(LIMITS))
    return replace(limited, answer=sample.answer[:1]), limited


def in_prose(sample: Sample, random: Random) -> tuple[Sample, Sample] | None:
    if sample.answer or not sample.text:
        return None
    ready = with_system(sample, random.choice(JSON_ONLY))
    said = json.dumps({"reply": sample.text}, ensure_ascii=False)
    broken = random.choice((sample.text, f"```json\n{said}\n```", f"Here you are: {said}", said[:-1] + ",}"))
    return replace(ready, text=said), replace(ready, text=broken)


def in_english(sample: Sample, random: Random) -> tuple[Sample, Sample] | None:
    """The system wants another language; the reply is in it, then in English."""
    if sample.answer or len(sample.text) < 20:
        return None
    number, wish = random.choice(WISHES)
    ready = with_system(sample, wish)
    return replace(ready, text=FOREIGN[number]), ready


def thinking(left: Callable[[str, str], str]) -> Plant:
    """A reply has a think part, then what is `left` of it and of the reply."""

    def plant(sample: Sample, random: Random) -> tuple[Sample, Sample] | None:
        if sample.answer or not sample.text:
            return None
        thought = random.choice(("No tool of these does it.", "What is asked for?", "Hm. Say it in one sentence."))
        sound = replace(sample, text=f"<think>{thought}</think>\n{sample.text}")
        return sound, replace(sample, text=left(thought, sample.text))

    return plant


def of_kind(kind: str) -> Plant:
    return plainly(lambda sample, random: replace(sample, kind=kind) if sample.answer else None)


def written(dialect: Dialect) -> Plant:
    """The reference's calls are its reply, written in a dialect."""

    def plant(sample: Sample, random: Random) -> tuple[Sample, Sample] | None:
        if not sample.answer:
            return None
        sound = replace(sample, kind="")
        return sound, replace(sound, answer=(), text=dialect.render(reference_calls(sample)))

    return plant


def only_said(sample: Sample, random: Random) -> Sample | None:
    said = random.choice(("Done.", "That is arranged for you.", "Which day do you mean?", "I have no access to that."))
    return replace(sample, answer=(), text=said) if sample.answer and sample.kind in CALL_KINDS else None


def announced(sample: Sample, random: Random) -> Sample | None:
    names = [tool["name"] for tool in sample.prompt.tools if "_" in tool["name"] or "." in tool["name"]]
    if sample.answer or not names:
        return None
    return replace(sample, text=random.choice(ANNOUNCEMENTS).format(random.choice(names)))


FAULTS: Mapping[str, Sequence[Plant]] = {
    "unknown_role": [
        inserting(first, {"role": "developer", "content": "Be brief."}),
        inserting(first, {"role": "human", "content": "Hello!"}),
        role_changed("assistant", "gpt", "model", "Assistant"),
        role_changed("user", "human", "User"),
    ],
    "system_not_first": [
        inserting(after_user, {"role": "system", "content": "Be brief."}),
        inserting(last, {"role": "system", "content": "Be brief."}, ASKS_ON),
    ],
    "nobody_asked": [
        plainly(without_answer),
        inserting(last, {"role": "assistant", "content": "Let me see."}),
        plainly(in_two),
    ],
    "stray_result": [
        inserting(first, {"role": "tool", "content": '{"status": "ok"}'}),
        inserting(last, {"role": "tool", "content": '{"status": "ok"}'}),
        plainly(without_call),
    ],
    "unanswered_call": [in_result(lost), in_result(talked_over)],
    "surplus_result": [in_result(doubled)],
    "result_of_another_tool": [plainly(of_another_tool)],
    "result_of_another_call": [of_another_call(wrong) for wrong in ("call_9_9", "", "CALL_1_0")],
    "call_already_answered": [asked_again],
    "more_calls_than_allowed": [all_at_once],
    "reply_not_json": [in_prose],
    "language_not_wanted": [in_english],
    "think_left_open": [
        thinking(lambda thought, text: f"<think>{thought}\n{text}"),
        thinking(lambda thought, text: f"{thought}</think>\n{text}"),
        thinking(lambda thought, text: f"<think>{thought}</think><think>\n{text}"),
        in_words(amid(("<think>", "</think>")), "assistant"),
    ],
    "call_where_none_is_right": [of_kind(kind) for kind in sorted(NO_CALL_KINDS)],
    "call_in_prose": [written(dialect) for dialect in DIALECTS.values()],
    "prose_where_a_call_is_due": [plainly(only_said)],
    "call_announced": [plainly(announced)],
}
