"""A conversation as samples: one for every decision of the assistant, everything before it as the prompt.

Readers bring their turns into one form, messages as `chat.plain_messages` reads them. Earlier turns of the assistant,
their calls and the results of tools are context, which is never trained on. What the assistant says in a row is one
turn; what it says before the user has said anything is context only, as is what has `weight` 0. The think part that a
turn begins with becomes the sample's thought; in the context it is left out, as templates of thinking models do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from iterft.chat import THINK_CLOSE, think_span
from iterft.readers.parts import Row, RowFault, as_answer, decoded, shown
from iterft.types import Message, Prompt, Sample, Tool, ToolCall

_YEAR = re.compile(r"\b(?:19|20)\d\d\b")


def decisions(name: str, source: str, messages: Iterable[Message], tools: Sequence[Tool]) -> list[Sample]:
    """The samples NAME/1, NAME/2, ... RowFault when a turn is empty, answers nothing, or none is the assistant's."""
    turns, thoughts, weights = _joined(messages)
    samples: list[Sample] = []
    for at, turn in enumerate(turns):
        calls = [ToolCall(call["name"], call["arguments"]) for call in turn.get("tool_calls", ())]
        _refuse_stray(turns, at, name)
        if turn["role"] != "assistant":
            continue
        if not calls and not turn["content"].strip():
            raise RowFault("an empty assistant turn", f"{name}: turn {at + 1}")
        if weights[at] and any(before["role"] == "user" for before in turns[:at]):
            samples.append(
                Sample(
                    id=f"{name}/{len(samples) + 1}",
                    prompt=Prompt(tuple(turns[:at]), tuple(tools)),
                    answer=tuple(as_answer(call, tools) for call in calls),
                    text="" if calls else turn["content"],
                    source=source,
                    thought=thoughts[at],
                )
            )
    if not samples:
        reason = "no assistant turn after a user's" if all(weights) else "no assistant turn to learn"
        raise RowFault(reason if turns else "an empty conversation", name)
    return samples


def to_answer(messages: Iterable[Message]) -> tuple[Message, ...]:
    """A conversation as the prompt of the assistant's next turn. RowFault when there is nothing to answer."""
    turns, _, _ = _joined(messages)
    for at in range(len(turns)):
        _refuse_stray(turns, at, f"message {at + 1}")
    last = turns[-1] if turns else None
    if last is None or not (last["role"] == "tool" or (last["role"] == "user" and last["content"].strip())):
        said = "it is empty" if last is None else f"the last is the {last['role']}'s: {shown(last['content'])}"
        raise RowFault("a conversation without anything to answer", said)
    return tuple(turns)


def _refuse_stray(turns: Sequence[Message], at: int, name: str) -> None:
    """RowFault where a result answers no call."""
    if turns[at]["role"] == "tool" and (not at or not (turns[at - 1]["role"] == "tool" or _calls(turns[at - 1]))):
        raise RowFault("a tool's result without a call", f"{name}: {shown(turns[at]['content'])}")


def message(role: str, content: str, calls: Sequence[ToolCall] = ()) -> dict[str, Any]:
    """One message; calls only from the assistant."""
    made: dict[str, Any] = {"role": role, "content": content}
    if calls:
        made["tool_calls"] = [{"name": call.name, "arguments": call.arguments} for call in calls]
    return made


def parted(text: str) -> tuple[str, str]:
    """(the think part that a turn begins with, tags included, "" where it has none; the rest)."""
    span = think_span(text)
    if span is None:
        return "", text
    end = span[1] + len(THINK_CLOSE)
    return text[:end], text[end:].lstrip()


def thought_in(think_part: str) -> str:
    """What a think part says, "" where that is nothing."""
    span = think_span(think_part)
    thought = think_part[slice(*span)] if span else ""
    return thought if thought.strip() else ""


def spoken(row: Row, roles: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(role, text) of each turn {from, value} of `conversations`; `roles`: what the form calls a role -> the role."""
    turns = decoded(row.get("conversations"), "'conversations'")
    if not isinstance(turns, list):
        raise RowFault("'conversations' missing or not a list", shown(turns))
    for turn in turns:
        if not isinstance(turn, dict) or "from" not in turn:
            raise RowFault("a turn without a speaker", shown(turn))
        yield role_of(turn["from"], roles), text_of(turn.get("value"))


def role_of(name: Any, roles: Mapping[str, str]) -> str:
    if not isinstance(name, str) or name not in roles:
        raise RowFault("unknown role", f"{shown(name)}; known are {', '.join(roles)}")
    return roles[name]


def text_of(value: Any) -> str:
    """Text as it is; anything else, such as a tool's result, as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def background(instructions: str) -> list[dict[str, Any]]:
    """What is kept of a system text that shows tools and tells how to call them: lines that name a year, as answers may
    depend on today's date. The rest is the dialect's to say."""
    kept = [line.strip() for line in instructions.splitlines() if _YEAR.search(line)]
    return [message("system", "\n".join(kept))] if kept else []


def _joined(messages: Iterable[Message]) -> tuple[list[Message], list[str], list[float]]:
    """The turns without think parts, those of the assistant in a row as one; what the think part of each says, and the
    least weight it has."""
    turns: list[Message] = []
    thoughts: list[str] = []
    weights: list[float] = []
    for turn in messages:
        think_part, content = parted(turn["content"]) if turn["role"] == "assistant" else ("", turn["content"])
        weight = turn.get("weight", 1)
        turn = {**{key: value for key, value in turn.items() if key != "weight"}, "content": content}
        thought = thought_in(think_part)
        if turns and turn["role"] == turns[-1]["role"] == "assistant":
            before = turns.pop()
            both = {**before, "content": "\n".join(filter(None, (before["content"], turn["content"])))}
            if calls := [*before.get("tool_calls", ()), *turn.get("tool_calls", ())]:
                both["tool_calls"] = calls
            turn, thought = both, "\n".join(filter(None, (thoughts.pop(), thought)))
            weight = min(weights.pop(), weight)
        turns.append(turn)
        thoughts.append(thought)
        weights.append(weight)
    return turns, thoughts, weights


def _calls(turn: Message) -> bool:
    return bool(turn.get("tool_calls"))
