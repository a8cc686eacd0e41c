"""Texts that match a regular expression of the everyday sort: literals, classes, groups, alternatives, repetition.

Not read: look-around, back-references, flags; `draw_matching` raises ValueError there, and no value is made.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from string import ascii_letters, ascii_lowercase, digits

_CLASSES = {"d": digits, "w": ascii_letters + digits, "s": " "}
_ANY = ascii_lowercase + digits
Part = Callable[[Random, int], str]
"""Draws a text; what is repeated without a bound is repeated at most so often beyond its least number."""


def draw_matching(pattern: str, random: Random, most: int = 3) -> str:
    """`most`: how often what has no bound is repeated beyond its least number. ValueError for what is not read."""
    part, rest = _alternatives(pattern)
    if rest:
        raise ValueError(f"pattern {pattern!r}: cannot be read from {rest!r} on")
    return part(random, most)


def is_drawable(pattern: str) -> bool:
    """Whether the pattern is of the sort that is read here."""
    try:
        draw_matching(pattern, Random(0))
    except ValueError:
        return False
    return True


def _alternatives(text: str) -> tuple[Part, str]:
    """Up to the end or a closing parenthesis, which is left in the rest."""
    branches = []
    while True:
        branch, text = _sequence(text)
        branches.append(branch)
        if not text.startswith("|"):
            return (lambda random, most: random.choice(branches)(random, most)), text
        text = text[1:]


def _sequence(text: str) -> tuple[Part, str]:
    parts: list[Part] = []
    while text and text[0] not in "|)":
        if text[0] in "^$":
            text = text[1:]
            continue
        part, text = _atom(text)
        least, bound, text = _times(text)
        parts.append(_repeated(part, least, bound))
    return (lambda random, most: "".join(part(random, most) for part in parts)), text


def _atom(text: str) -> tuple[Part, str]:
    head, rest = text[0], text[1:]
    if head == "(":
        if rest.startswith("?"):
            if not rest.startswith("?:"):
                raise ValueError(f"pattern: (?{rest[1:2]} is not read")
            rest = rest[2:]
        inner, rest = _alternatives(rest)
        if not rest.startswith(")"):
            raise ValueError("pattern: a parenthesis is not closed")
        return inner, rest[1:]
    if head == "[":
        return _class(rest)
    if head == "\\":
        return _chooser(_escaped(rest[:1])), rest[1:]
    if head == ".":
        return _chooser(_ANY), rest
    if head in "*+?{":
        raise ValueError(f"pattern: {head!r} repeats nothing")
    return _chooser(head), rest


def _class(text: str) -> tuple[Part, str]:
    """The characters of [...], `text` beginning after its bracket."""
    is_negated = text.startswith("^")
    text = text[1:] if is_negated else text
    found = ""
    while text and (text[0] != "]" or not found):
        if text[0] == "\\":
            found, text = found + _escaped(text[1:2]), text[2:]
        elif len(text) > 2 and text[1] == "-" and text[2] != "]":
            found, text = found + "".join(map(chr, range(ord(text[0]), ord(text[2]) + 1))), text[3:]
        else:
            found, text = found + text[0], text[1:]
    if not text:
        raise ValueError("pattern: a bracket is not closed")
    if is_negated:
        found = "".join(sign for sign in _ANY if sign not in found)
    return _chooser(found), text[1:]


def _escaped(sign: str) -> str:
    if sign in ("b", "B", "A", "Z") or sign.isdigit():
        raise ValueError(f"pattern: \\{sign} is not read")
    return _CLASSES.get(sign, sign)


def _times(text: str) -> tuple[int, int | None, str]:
    """How often what stands before is repeated, least and most (None without a bound), and the rest."""
    head = text[:1]
    if head in ("*", "+", "?") and head:
        least = 1 if head == "+" else 0
        rest = text[2:] if text[1:2] == "?" else text[1:]
        return least, 1 if head == "?" else None, rest
    if head == "{":
        bounds, closed, rest = text[1:].partition("}")
        low, has_high, high = bounds.partition(",")
        if not closed or not low.isdigit() or (high and not high.isdigit()):
            raise ValueError(f"pattern: {{{bounds} is no number of times")
        least = int(low)
        return least, int(high) if high else None if has_high else least, rest
    return 1, 1, text


def _repeated(part: Part, least: int, bound: int | None) -> Part:
    def draw(random: Random, most: int) -> str:
        times = random.randint(least, least + most if bound is None else bound)
        return "".join(part(random, most) for _ in range(times))

    return draw


def _chooser(signs: str) -> Part:
    if not signs:
        raise ValueError("pattern: a class is empty")
    return lambda random, most: random.choice(signs)
