"""Typed values for tool arguments: how a query says a value, and what a call may hold for it.

A *kind* is written in a few words in the domain files (`catalog.py`): `int 2 10`, `enum low; high=maximum`, `date`,
`list 2 3 city`. It knows its JSON schema and draws values. The grammar of options in `pick` and `enum` is
`words=value~another accepted value`, separated by `|` (pick) or `;` (enum, where `|` separates wordings of one value).
Not here: where in a query a value stands (`wording.py`).
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from iterft.synth.vocabulary import DURATIONS, NAMED
from iterft.ways_to_write import NUMBER_WORDS, clock_forms, date_forms


@dataclass(frozen=True)
class Value:
    """`words` is what the query says; `accepted` are the argument values that are right, the usual one first.
    `is_implied`: a clause says it without words of the value's own."""

    words: str
    accepted: tuple[Any, ...]
    is_implied: bool = False


@dataclass(frozen=True)
class Kind:
    """`note` is appended to a parameter's description, so that the written form is determined by the schema. `below`
    and `above`: paths of parameters whose values are higher, or lower (see `ordered`)."""

    schema: Mapping[str, Any]
    draw: Callable[[Random], Value]
    note: str = ""
    below: str = ""
    above: str = ""

    def literal(self, text: str) -> Value:
        """The value that `{name=text}` sets without a word: the text, or JSON where no string is wanted."""
        value = text if self.schema.get("type") == "string" else json.loads(text)
        return Value("", (value,), is_implied=True)


_STRING: Mapping[str, Any] = {"type": "string"}


@functools.cache
def kind_of(spec: str) -> Kind:
    """The kind that a domain file names. Raises ValueError for an unknown one."""
    head, _, rest = spec.partition(" ")
    if head in NAMED:
        return _pick(NAMED[head])
    maker = _MAKERS.get(head)
    if maker is None:
        raise ValueError(f"kind {spec!r}: {head!r} is none of {', '.join(sorted([*NAMED, *_MAKERS]))}")
    return maker(rest)


def _pick(rest: str) -> Kind:
    options = [_option(option) for option in rest.split("|")]
    return Kind(_STRING, lambda random: random.choice(options))


def _enum(rest: str) -> Kind:
    """`value=words|other words; value`: the argument is one of the values, said in one of its wordings."""
    wordings = {}
    for entry in rest.split(";"):
        value, _, words = entry.strip().partition("=")
        wordings[value] = words.split("|") if words else [value]

    def draw(random: Random) -> Value:
        value = random.choice(list(wordings))
        return Value(random.choice(wordings[value]), (value,))

    return Kind({"type": "string", "enum": list(wordings)}, draw)


def _int(rest: str) -> Kind:
    """`low high [step]`."""
    return _integers(rest, _counted)


def _plain(rest: str) -> Kind:
    """`low high [step]`, always said in bare digits, as years and percentages are."""
    return _integers(rest, lambda value, random: str(value))


def _integers(rest: str, say: Callable[[int, Random], str]) -> Kind:
    low, high, *step = map(int, rest.split())
    steps = range(low, high + 1, step[0] if step else 1)

    def draw(random: Random) -> Value:
        value = random.choice(steps)
        return Value(say(value, random), (value,))

    return Kind({"type": "integer"}, draw)


def _num(rest: str) -> Kind:
    """`low high decimals`: whole in two of five draws, else with exactly that many decimals, the last one not 0."""
    low, high, decimals = float(rest.split()[0]), float(rest.split()[1]), int(rest.split()[2])

    def draw(random: Random) -> Value:
        if decimals == 0 or (random.random() < 0.4 and int(high) > int(low) + 1):
            whole = random.randint(int(low) + 1, int(high))
            return Value(_grouped(whole, random), (whole,))
        value = _with_decimals(low, high, decimals, random)
        return Value(f"{value:,.{decimals}f}" if random.random() < 0.5 else f"{value:.{decimals}f}", (value,))

    return Kind({"type": "number"}, draw)


def _list(rest: str) -> Kind:
    """`least most kind`: different items in the order said. Numbers in one list are all whole or all with decimals."""
    least, most, item_spec = rest.split(" ", 2)
    item = kind_of(item_spec)

    def draw(random: Random) -> Value:
        num_items = random.randint(int(least), int(most))
        items: dict[str, Any] = {}
        while len(items) < num_items:
            value = _item(item_spec, item, random)
            items[value.words] = value.accepted[0]
        return Value(joined(list(items), random), (list(items.values()),))

    return Kind({"type": "array", "items": dict(item.schema)}, draw, item.note)


def _item(spec: str, item: Kind, random: Random) -> Value:
    if item.schema["type"] not in ("number", "integer"):
        return item.draw(random)
    number: Any
    if spec.startswith("num") and not spec.endswith(" 0"):
        _, low, high, decimals = spec.split()
        number = _with_decimals(float(low), float(high), int(decimals), random)
    else:
        number = item.draw(random).accepted[0]
    return Value(str(number), (number,))


def _date(rest: str) -> Kind:
    """A day, `first last` in days from February 2026. The year is always said: nothing hangs on what today is."""
    first, last = map(int, (rest or "0 420").split())

    def draw(random: Random) -> Value:
        day = datetime.date(2026, 2, 1) + datetime.timedelta(days=random.randint(first, last))
        return Value(random.choice(date_forms(day)), (day.isoformat(),))

    return Kind(_STRING, draw, " (YYYY-MM-DD)")


def _clock(rest: str) -> Kind:
    """A time of day between two hours, `low high`, in quarters."""
    low, high = map(int, rest.split())

    def draw(random: Random) -> Value:
        hour, minute = random.randint(low, high), random.choice((0, 0, 15, 30, 30, 45))
        exact = f"{hour:02d}:{minute:02d}"
        words = "noon" if exact == "12:00" else random.choice(clock_forms(hour, minute))
        return Value(words, (exact, f"{hour}:{minute:02d}") if hour < 10 else (exact,))

    return Kind(_STRING, draw, " (24-hour HH:MM)")


def _minutes(rest: str) -> Kind:
    """A duration whose parameter counts minutes."""

    def draw(random: Random) -> Value:
        words, value = random.choice(DURATIONS)
        return Value(words, (value,))

    return Kind({"type": "integer"}, draw)


def _code(rest: str) -> Kind:
    """An identifier by pattern: `#` is a digit, `%` a capital letter."""

    def draw(random: Random) -> Value:
        letters = {"#": "0123456789", "%": "ABCDEFGHJKLMNPQRSTUVWXYZ"}
        text = "".join(random.choice(letters[sign]) if sign in letters else sign for sign in rest)
        return Value(text, (text,))

    return Kind(_STRING, draw)


def _part_of_name(part: int, rest: str) -> Kind:
    """The first (0) or the last (-1) name of persons."""
    return _pick("|".join(dict.fromkeys(person.split()[part] for person in NAMED["person"].split("|"))))


def _flag(rest: str) -> Kind:
    """A boolean. Queries set it by a clause of their own, `{name=true}`; its words are never said."""
    return Kind({"type": "boolean"}, lambda random: Value("", (True,)))


_MAKERS: Mapping[str, Callable[[str], Kind]] = {
    "pick": _pick,
    "enum": _enum,
    "int": _int,
    "plain": _plain,
    "num": _num,
    "list": _list,
    "date": _date,
    "clock": _clock,
    "minutes": _minutes,
    "code": _code,
    "flag": _flag,
    "first_name": functools.partial(_part_of_name, 0),
    "last_name": functools.partial(_part_of_name, -1),
}


def joined(words: list[str], random: Random) -> str:
    """Words as a list in prose: "a", "a and b", "a, b and c"."""
    if len(words) == 1:
        return words[0]
    comma = "," if len(words) > 2 and random.random() < 0.5 else ""
    return f"{', '.join(words[:-1])}{comma} and {words[-1]}"


def _option(option: str) -> Value:
    words, _, values = option.partition("=")
    return Value(words, tuple((values or words).split("~")))


def _counted(value: int, random: Random) -> str:
    if 0 <= value < len(NUMBER_WORDS) and random.random() < 0.35:
        return NUMBER_WORDS[value]
    return _grouped(value, random)


def _grouped(value: int, random: Random) -> str:
    return f"{value:,}" if random.random() < 0.5 else str(value)


def _with_decimals(low: float, high: float, decimals: int, random: Random) -> float:
    scale: int = 10**decimals
    while True:
        scaled = random.randint(round(low * scale), round(high * scale))
        if scaled % 10:
            return scaled / scale
