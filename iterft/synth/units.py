"""In which unit a number is, told from the name of its parameter or its description, and how people write it.

The table `units.txt` holds the words for a unit, then the ways to write a number of it, {} in the number's place.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from iterft.synth.names import words_of

_TABLE = Path(__file__).parent / "units.txt"
_MOST_WORDS = 3
_IN_UNIT = re.compile(r"\bin ((?:[a-z]+ ){0,3}[a-z]+)(?![\w/])")
_NO_NAMES = frozenset(["num", "number", "max", "min", "total", "within", "since", "until", "per", "in", "of"])
"""What a name without its unit must not end with."""
_MAKE_ANOTHER = frozenset(["per", "a", "an", "squared", "cubed", "times"])
"""Words behind a unit with which it is another one: "in kilograms per litre"."""
_VOWELS = frozenset("aeiouy")


def measured(name: str, description: str) -> tuple[str, Sequence[str]]:
    """(the name without its unit, the ways to write a number of it); ("", ()) where neither name nor description tells
    it, and where the name is nothing else."""
    words = words_of(name)
    if " ".join(words) in _table():
        return "", ()
    for size in range(min(_MOST_WORDS, len(words) - 1), 0, -1):
        if forms := _table().get(" ".join(words[-size:])):
            return (" ".join(words[:-size]), forms) if words[-size - 1] not in _NO_NAMES else ("", ())
    is_short = len(words) > 1 and _VOWELS.isdisjoint(words[-1])  # "kwp": stands for the unit
    for found in _IN_UNIT.findall(description.lower()):
        told = found.split()
        for size in range(len(told), 0, -1):
            forms = _table().get(" ".join(told[:size]))
            if forms and _MAKE_ANOTHER.isdisjoint(told[size : size + 1]):
                return " ".join(words[:-1] if is_short else words), forms
    return "", ()


@functools.cache
def _table() -> Mapping[str, Sequence[str]]:
    """The words for a unit -> the ways to write a number of it, from the file."""
    table = {}
    for line in _TABLE.read_text(encoding="utf-8").splitlines():
        words, _, forms = line.partition(" = ")
        for each in words.split("|"):
            table[each] = forms.split("|")
    return table
