"""The last message of the user: the values that the reference takes from it, and the parts that must stay as written.

What changes its words (`typos`, `reworded`) finds places here and makes edits, all told in positions of the text as it
was, so that one sort of change knows nothing of the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from iterft.data import earlier_calls
from iterft.types import Prompt, Sample

_FIXED = re.compile(
    r'"[^"]*(?:"|\Z)|“[^”]*(?:”|\Z)|„[^“”]*(?:[“”]|\Z)|«[^»]*(?:»|\Z)|'
    r"\u2018[^\u2019]*\u2019|(?<!\w)'[^'\n]*'(?!\w)|`[^`]*(?:`|\Z)|<[^>\n]*>|\[.*\]|"
    r"^[^\n]*(?:[{}=\\]|\w\(|;[ \t]*$)[^\n]*$",
    re.DOTALL | re.MULTILINE,
)
"""Quotes, code, mark-up, lines that look like code. A quote that is left open reaches to the end."""
HOLE = "\0"


@dataclass(frozen=True)
class Edit:
    """Instead of the characters from `start` to `end` stands `text`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Place:
    """What stands from `start` to `end` may as well be any of `options`, and is none of them."""

    start: int
    end: int
    options: Sequence[str]


@dataclass(frozen=True)
class Said:
    """A value that the reference asks for: the argument (or field) it is for, the accepted alternatives, the schema it
    has there ({} where the tool declares none). A list comes as a whole, and then item by item."""

    name: str
    accepted: Sequence[Any]
    schema: Mapping[str, Any]

    @property
    def first(self) -> Any:
        """The first that is written; "" where none is."""
        return next((value for value in self.accepted if value != ""), "")


def request_index(sample: Sample) -> int | None:
    """Where the last message of the user stands; None when there is none with words."""
    messages = sample.prompt.messages
    index = next((at for at in reversed(range(len(messages))) if messages[at]["role"] == "user"), None)
    return index if index is not None and isinstance(messages[index].get("content"), str) else None


def request_of(sample: Sample) -> str:
    """What the user said last; "" where that is nothing."""
    index = request_index(sample)
    return "" if index is None else sample.prompt.messages[index]["content"]


def with_edits(sample: Sample, edits: Mapping[str, Sequence[Edit]]) -> Sample:
    """The sample with the edits of every sort of change in its last request, and the sorts in its id."""
    if not any(edits.values()):
        return sample
    index = request_index(sample)
    assert index is not None, "a sample without a request has no edits"
    messages = list(sample.prompt.messages)
    content = edited(messages[index]["content"], [edit for sort in edits.values() for edit in sort])
    messages[index] = {**messages[index], "content": content}
    name = "".join([sample.id, *(change for change, sort in edits.items() if sort)])
    return replace(sample, id=name, prompt=Prompt(tuple(messages), sample.prompt.tools))


def edited(text: str, edits: Iterable[Edit]) -> str:
    """The text after the edits, which must not overlap."""
    parts, at = [], 0
    for edit in sorted(edits, key=lambda edit: edit.start):
        assert edit.start >= at, f"two edits meet at {edit.start}"
        parts += [text[at : edit.start], edit.text]
        at = edit.end
    return "".join([*parts, text[at:]])


def open_text(text: str) -> str:
    """The text, as long as it was, with holes where it must stay as written."""
    return _FIXED.sub(lambda found: HOLE * len(found[0]), text)


def begins_sentence(text: str, at: int) -> bool:
    before = text[:at].rstrip(" \t")
    return not before or before[-1] in ".!?\n"


def values_of(sample: Sample) -> list[Said]:
    """Every value of the reference."""
    tools = {tool["name"]: tool for tool in sample.prompt.tools}
    return [
        value
        for call in sample.answer
        for name, accepted in call.arguments.items()
        for value in _values(name, accepted, _inner(tools.get(call.name, {}).get("parameters"), name))
    ]


def calls_made(sample: Sample) -> list[Any]:
    """The arguments of the calls in the messages: they were taken from what was said, too."""
    return [call.get("arguments") for call in earlier_calls(sample)]


def texts_in(value: Any) -> Iterator[str]:
    """All strings inside a value, names of fields too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield name
            yield from texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_in(inner)


def _values(name: str, accepted: Sequence[Any], schema: Mapping[str, Any]) -> Iterator[Said]:
    nested = [value for value in accepted if isinstance(value, list | Mapping)]
    if len(nested) < len(accepted):
        yield Said(name, [value for value in accepted if not isinstance(value, list | Mapping)], schema)
    for value in nested:
        if isinstance(value, Mapping):
            for field, options in value.items():
                options = options if isinstance(options, list) and options else [options]
                yield from _values(field, options, _inner(schema, field))
        else:
            yield Said(name, [value], schema)
            items = schema.get("items")
            for item in value:
                yield from _values(name, [item], items if isinstance(items, Mapping) else {})


def _inner(schema: Any, name: str) -> Mapping[str, Any]:
    """The schema of a field; {} where none is declared."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    inner = properties.get(name) if isinstance(properties, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}
