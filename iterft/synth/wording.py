"""The small language in which domain files word queries, parsed once and filled many times.

    {city}           the words of a drawn value; the same slot twice says the same value
    {units=celsius}  sets an argument and says nothing: the words around it imply the value
    [ for {days} days]   an optional clause, said in half of the queries
    <show|give>      one of several wordings
    ~{city}~         the part that is repeated, joined in prose, when one query asks for several calls
    @is/are@         the form for one call and the form for several

Not here: what a slot's values are (`values.py`) and which argument they end up in (`catalog.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from iterft.synth.ordered import is_crossed, is_far
from iterft.synth.values import Kind, Value, joined

_TOKEN = re.compile(r"[\[\]<>|~]|\{[^}]*\}|@[^@/]*/[^@]*@|[^\[\]<>|~{}@]+")
_MAX_REDRAWS, _MAX_NEAR_REDRAWS = 20, 100


@dataclass(frozen=True)
class Slot:
    """A place for a value. `fixed` holds a value that is implied, not said."""

    path: str
    fixed: str | None = None


@dataclass(frozen=True)
class Optional:
    """A clause that may be left out."""

    parts: Wording


@dataclass(frozen=True)
class Choice:
    """Wordings of which one is said."""

    options: tuple[Wording, ...]


@dataclass(frozen=True)
class Repeat:
    """The clause that each of several calls has its own version of."""

    parts: Wording


@dataclass(frozen=True)
class ByNumber:
    """A form for one call and a form for several."""

    one: str
    several: str


Wording: TypeAlias = "tuple[str | Slot | Optional | Choice | Repeat | ByNumber, ...]"
Bindings: TypeAlias = dict[str, Value]


def parse(text: str) -> Wording:
    """Raises ValueError, with the text, where brackets do not match."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text:
        raise ValueError(f"wording {text!r}: a lone brace or @; write {{slot}} or @one/several@")
    parts, rest = _sequence(tokens, until="")
    assert not rest, "a sequence that ends nowhere takes all tokens"
    return parts


def slots(wording: Wording, spoken_always: bool = False) -> set[str]:
    """Paths of all slots, or only of those that every filling sets (outside optional clauses and choices)."""
    found: set[str] = set()
    for part in wording:
        match part:
            case Slot(path):
                found.add(path)
            case Repeat(parts):
                found |= slots(parts, spoken_always)
            case Optional(parts):
                found |= set() if spoken_always else slots(parts)
            case Choice(options):
                each = [slots(option, spoken_always) for option in options]
                found |= set.intersection(*each) if spoken_always else set.union(*each)
    return found


def repeats(wording: Wording) -> Repeat | None:
    """The repeated clause, if the wording has one."""
    return next((part for part in wording if isinstance(part, Repeat)), None)


def fill(
    wording: Wording, kinds: Mapping[str, Kind], random: Random, num_calls: int = 1, bound: Bindings | None = None
) -> tuple[str, list[Bindings]] | None:
    """The text and, per call, the values of its slots. None when `num_calls` different values could not be drawn.

    `bound` holds values settled before; they are said again where their slots stand.
    """
    shared: Bindings = dict(bound or {})
    own: list[Bindings] = [{}]
    pieces = []
    for part in wording:
        if not isinstance(part, Repeat):
            pieces.append(_say(part, kinds, random, shared, num_calls))
            continue
        clauses: list[str] = []
        own = []
        for _ in range(_MAX_REDRAWS):
            bindings = dict(shared)
            clause = "".join(_say(inner, kinds, random, bindings, num_calls) for inner in part.parts)
            if all(_differ(bindings, other, part.parts, kinds) for other in own):
                clauses.append(clause)
                own.append(bindings)
            if len(own) == num_calls:
                break
        else:
            return None
        pieces.append(joined(clauses, random))
    return "".join(pieces), [{**shared, **bindings} for bindings in own]


def drawn(path: str, kinds: Mapping[str, Kind], random: Random, bindings: Bindings) -> Value:
    """A value that no other argument of this kind has: nobody flies from Oslo to Oslo. Numbers may coincide. Of two
    ends of something the lower one stays below the higher one, or is the same where a few draws give none; days are
    near each other, as those of a stay are, where a draw in a hundred gives such."""
    kind = kinds[path]
    ends = [bindings[end].accepted[0] for end in (kind.below, kind.above) if end in bindings]
    taken = [value.accepted for other, value in bindings.items() if kinds[other].draw is kind.draw]
    sound: Value | None = None
    for number in range(_MAX_NEAR_REDRAWS if ends else _MAX_REDRAWS):
        value = kind.draw(random)
        is_new = value.accepted not in taken or kind.schema.get("type") != "string"
        if is_new and not _crossing(kind, value, bindings):
            if not any(is_far(value.accepted[0], end) for end in ends):
                return value
            sound = sound or value
        if number >= _MAX_REDRAWS and sound is None:
            break
    return sound or _crossing(kind, value, bindings) or value


def _crossing(kind: Kind, value: Value, bindings: Bindings) -> Value | None:
    """The other end's value where this one lies on its wrong side."""
    higher, lower = bindings.get(kind.below), bindings.get(kind.above)
    if higher and is_crossed(value.accepted[0], higher.accepted[0]):
        return higher
    return lower if lower and is_crossed(lower.accepted[0], value.accepted[0]) else None


def _say(
    part: str | Slot | Optional | Choice | Repeat | ByNumber,
    kinds: Mapping[str, Kind],
    random: Random,
    bindings: Bindings,
    num_calls: int,
) -> str:
    match part:
        case str():
            return part
        case Slot(path, fixed):
            if fixed is not None:
                bindings[path] = kinds[path].literal(fixed)
            elif path not in bindings:
                bindings[path] = drawn(path, kinds, random, bindings)
            return bindings[path].words
        case ByNumber(one, several):
            return one if num_calls == 1 else several
        case Optional(parts):
            return _say_all(parts, kinds, random, bindings, num_calls) if random.random() < 0.5 else ""
        case Choice(options):
            return _say_all(random.choice(options), kinds, random, bindings, num_calls)
        case Repeat(parts):
            return _say_all(parts, kinds, random, bindings, num_calls)


def _say_all(parts: Wording, kinds: Mapping[str, Kind], random: Random, bindings: Bindings, num_calls: int) -> str:
    return "".join(_say(part, kinds, random, bindings, num_calls) for part in parts)


def _differ(one: Bindings, other: Bindings, clause: Wording, kinds: Mapping[str, Kind]) -> bool:
    """Whether two calls of one query are clearly two: they part in what the clause names first, a string if it has one.

    So one query never sets the same lamp twice.
    """
    paths = [part.path for part in clause if isinstance(part, Slot)]
    names = [path for path in paths if kinds[path].schema.get("type") == "string"] or paths
    return one[names[0]].accepted != other[names[0]].accepted


def _sequence(tokens: list[str], until: str) -> tuple[Wording, list[str]]:
    """Parts up to a token of `until` (left in the rest), or to the end when `until` is ""."""
    parts: list[str | Slot | Optional | Choice | Repeat | ByNumber] = []
    while tokens and not (until and tokens[0] in until):
        token, *tokens = tokens
        if token == "[":
            inner, tokens = _closed(tokens, "]")
            parts.append(Optional(inner))
        elif token == "~":
            inner, tokens = _closed(tokens, "~")
            parts.append(Repeat(inner))
        elif token == "<":
            options = []
            while True:
                inner, tokens = _sequence(tokens, "|>")
                options.append(inner)
                end, *tokens = tokens or [">"]
                if end == ">":
                    break
            parts.append(Choice(tuple(options)))
        elif token[0] == "{":
            path, has_value, fixed = token[1:-1].partition("=")
            parts.append(Slot(path, fixed if has_value else None))
        elif token[0] == "@":
            one, _, several = token[1:-1].partition("/")
            parts.append(ByNumber(one, several))
        elif token in "]>|":
            raise ValueError(f"wording: {token!r} closes nothing before {''.join(tokens)!r}")
        else:
            parts.append(token)
    return tuple(parts), tokens


def _closed(tokens: list[str], closer: str) -> tuple[Wording, list[str]]:
    inner, rest = _sequence(tokens, closer)
    if not rest:
        raise ValueError(f"wording: {closer!r} is missing after {''.join(tokens)!r}")
    return inner, rest[1:]
