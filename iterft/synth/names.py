"""The words that names of tools, parameters and fields are made of."""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def words_of(name: str) -> list[str]:
    """The words of a name, in lower case: `maxPrice_EUR` is max, price, eur."""
    return [word.lower() for word in _WORD.findall(name)]
