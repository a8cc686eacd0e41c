"""Does a reply in words say what the results say, and nothing else? As far as values tell. And does it do what it is
there for: ask, or refuse? As far as signs tell, in English."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from iterft.synth.grounding import Said, leaves, numbers_in
from iterft.types import Message

_NEGATION = re.compile(
    r"\b(?:no|not|none|nothing|never|neither|nor|cannot|cant|unable|lacks?|beyond|outside|without|unfortunately|afraid)\b"
    r"|n['\u2019]t\b",
    re.IGNORECASE,
)


def refuses(reply: str) -> bool:
    """Whether it says that something is not done."""
    return _NEGATION.search(reply) is not None


def asks(reply: str) -> bool:
    return "?" in reply


def invented(reply: str, messages: Sequence[Message]) -> str:
    """A number in the reply that stands nowhere in the conversation, "" if there is none."""
    heard = Said("\n".join(_text(message) for message in messages))
    found = sorted(number for number in numbers_in(reply) if number not in heard.numbers)
    return f"{found[0]:g} comes from nowhere" if found else ""


def untold(reply: str, messages: Sequence[Message]) -> bool:
    """Whether there is a result of which the reply tells no value."""
    told = Said(reply)
    facts = (list(leaves(_result(message), "")) for message in messages if message["role"] == "tool")
    return any(own and not any(told.holds(path, value) for path, value in own) for own in facts)


def left_out(reply: str, planned: str, messages: Sequence[Message]) -> str:
    """A value of a result that `planned` tells and the reply does not, "" if there is none."""
    told, known = Said(reply), Said(planned)
    facts = (leaves(_result(message), "") for message in messages if message["role"] == "tool")
    missing = (
        value for own in facts for path, value in own if known.holds(path, value) and not told.holds(path, value)
    )
    return next((f"{json.dumps(value, ensure_ascii=False)} is left out" for value in missing), "")


def _result(message: Message) -> Any:
    """The result as a value; as a text where it is no JSON."""
    try:
        return json.loads(message["content"])
    except ValueError:
        return message["content"]


def _text(message: Message) -> str:
    return f"{message.get('content') or ''} {json.dumps(message.get('tool_calls') or '')}"
