"""The table of forms: how each is told from its keys, and what reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from iterft.readers import glaive, hermes, openai, own, sharegpt, toolace, xlam
from iterft.readers.parts import Reader, Row
from iterft.types import Message


@dataclass(frozen=True)
class Form:
    """`fits(row)`: whether the keys of the row are those of this form and of none above it in the table."""

    fits: Callable[[Row], bool]
    read: Reader


def form_of(row: Row) -> str:
    """The name of the row's form, "" where it has none."""
    return next((name for name, form in FORMS.items() if form.fits(row)), "")


def read_prompt(messages: Any) -> tuple[Message, ...]:
    """A conversation that the assistant is to go on with, in the one form of these that people write by hand: OpenAI's.
    RowFault where it cannot be read, or says nothing to answer."""
    return openai.read_prompt(messages)


def _has(*keys: str) -> Callable[[Row], bool]:
    return lambda row: all(row.get(key) is not None for key in keys)


def _shows_tools_in_its_first_turn(row: Row) -> bool:
    turns = row.get("conversations")
    first = turns[0] if isinstance(turns, list) and turns else None
    return isinstance(first, dict) and first.get("from") == "system" and "<tools>" in str(first.get("value"))


FORMS: Mapping[str, Form] = {
    "own": Form(_has("messages", "answer"), own.read),
    "openai": Form(_has("messages"), openai.read),
    "xlam": Form(_has("query", "answers"), xlam.read),
    "glaive": Form(_has("chat"), glaive.read),
    "hermes": Form(_shows_tools_in_its_first_turn, hermes.read),
    "sharegpt": Form(_has("conversations", "tools"), sharegpt.read),
    "toolace": Form(_has("conversations", "system"), toolace.read),
}
