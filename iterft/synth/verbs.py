"""The verbs that tools are named and described by, and how people say them.

The table `verbs.txt` holds a verb and those that mean the same to a program, then the ways in which people say it. Not
here: what a tool does (`deeds`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

_TABLE = Path(__file__).parent / "verbs.txt"
_SIGNS = re.compile(r"[\[\]<>|~{}@]")
_BEHIND_HEAD = re.compile(
    r" (?:of|for|in|on|at|from|to|with|by|between|over|across|within|about|near|into|matching|as) .*$"
)


@functools.cache
def verbs() -> Mapping[str, tuple[str, Sequence[str]]]:
    """Verb -> (the first of those that mean the same, how people say it)."""
    table = {}
    for line in _TABLE.read_text(encoding="utf-8").splitlines():
        names, _, says = line.partition(" = ")
        for name in names.split():
            table[name] = (names.split()[0], says.split("|"))
    return table


@functools.cache
def base_of(word: str) -> str:
    """The known verb of which this is a form ("send" for "sends"), "" where there is none."""
    ways = (word, word.removesuffix("s"), word.removesuffix("es"), f"{word.removesuffix('ies')}y")
    return next((verb for verb in ways if verb in verbs()), "")


def head_of(thing: str) -> str:
    """The part of a phrase that says whether it is one thing or several: "flights" of "flights to a city"."""
    return _BEHIND_HEAD.sub("", thing)


def be(thing: str) -> str:
    """ "are" for several, "is" for one."""
    return "are" if is_plural(head_of(thing)) else "is"


def is_plural(thing: str) -> bool:
    return thing.endswith(("children", "people")) or (thing.endswith("s") and not thing.endswith(("ss", "us", "is")))


def plural(name: str) -> str:
    """A name of one thing as that of several."""
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("s", "x", "ch", "sh")) else f"{name}s"


def clean(text: str) -> str:
    """Text without what means something in a wording."""
    return " ".join(_SIGNS.sub(" ", text).split())
