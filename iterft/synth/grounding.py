"""Is every value of a call to be found in what was said? In the user's words or in an earlier result of a tool.

Literally: a text as it stands (case, blanks, "_" and "-" aside), a number in digits or as a small number word, a date
or a time in one of the ways people write them, true and false by the words of their parameter. What may be left out
need not be said. This is strict: an inferred value (EUR for "euros") counts as not said.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from iterft.json_schema import FORMATS
from iterft.rollout import reference_calls
from iterft.synth.names import parts_of, words_of
from iterft.types import Sample
from iterft.ways_to_write import NUMBER_WORDS, clock_forms, date_forms

_SIGNS = re.compile(r"[\s_\-]+")
_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::\d\d)?Z?)?")
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)")
_ZONED_CLOCK = re.compile(r"(\d\d:\d\d:\d\d)Z")
_FLAG_WORDS = frozenset(["is", "are", "has", "should", "include", "with"])


def ungrounded(sample: Sample) -> list[str]:
    """Where the values stand that nobody said: "get_weather: city"."""
    said = said_on(sample)
    return [
        f"{call.name}: {path}"
        for call, entry in zip(reference_calls(sample), sample.answer, strict=True)
        for name, value in call.arguments.items()
        if "" not in entry.arguments[name]
        for path, leaf in leaves(value, name)
        if not said.holds(path, leaf)
    ]


def said_on(sample: Sample) -> Said:
    """What the user and the tools have said on a sample."""
    messages = (message for message in sample.prompt.messages if message["role"] in ("user", "tool"))
    return Said("\n".join(str(message.get("content") or "") for message in messages))


def numbers_in(text: str) -> set[float]:
    """The numbers that stand in digits."""
    return {float(found.replace(",", "")) for found in _NUMBER.findall(text)}


class Said:
    """A text that values are looked for in."""

    def __init__(self, raw: str) -> None:
        self.text = _plain(raw)
        self.numbers = numbers_in(raw)
        self.numbers |= {float(NUMBER_WORDS.index(word)) for word in parts_of(self.text) if word in NUMBER_WORDS}

    def holds(self, path: str, value: Any) -> bool:
        """Whether the value of the argument at `path` was said."""
        if isinstance(value, bool):
            name = path.rpartition(".")[2]
            ways = (parts_of(name), words_of(name))
            return any(all(word in self.text for word in words if word not in _FLAG_WORDS) for words in ways)
        if isinstance(value, int | float):
            return float(value) in self.numbers
        if isinstance(value, str):
            return self._holds_any((value,)) or self._holds_time(value)
        return value is None

    def _holds_time(self, value: str) -> bool:
        if moment := _MOMENT.fullmatch(value):
            forms = date_forms(datetime.date.fromisoformat(moment[1])) if FORMATS["date"](moment[1]) else ()
            return self._holds_any(forms) and (not moment[2] or self._holds_time(moment[2]))
        if zoned := _ZONED_CLOCK.fullmatch(value):
            return self._holds_any((zoned[1],))
        clock = _CLOCK.fullmatch(value)
        if clock is None:
            return False
        is_noon = value == "12:00" and "noon" in self.text
        return is_noon or self._holds_any(clock_forms(int(clock[1]), int(clock[2])))

    def _holds_any(self, forms: Sequence[str]) -> bool:
        return any(_stands_in(_plain(form), self.text) for form in forms)


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, value) of every scalar in an argument; the fields of an object without properties of its own have no path,
    but were said with their values."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, f"{path}[]")
    else:
        yield path, value


def _stands_in(part: str, text: str) -> bool:
    """Whether the part is in the text, not as a piece of longer words."""
    at = text.find(part)
    while at >= 0:
        end = at + len(part)
        if not _both_in_word(text[at - 1 : at], part[:1]) and not _both_in_word(part[-1:], text[end : end + 1]):
            return True
        at = text.find(part, at + 1)
    return False


def _both_in_word(one: str, other: str) -> bool:
    return one.isalnum() and other.isalnum()


def _plain(text: str) -> str:
    return _SIGNS.sub(" ", text).lower().strip()
