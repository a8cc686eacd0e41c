"""The words that names of tools, parameters and fields are made of."""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SHORT = (
    "acct account|addr address|amt amount|avg average|bal balance|ccy currency|cfg config|cnt count|cust customer"
    "|dept department|dest destination|dst destination|dt date|emp employee|img image|mgr manager"
    "|msg message|ns namespace|pct percent|qty quantity|ref reference|src source|tel telephone"
    "|txn transaction|usr user"
)
"""Words that only names shorten so."""
_WHOLE = {short: whole for pair in _SHORT.split("|") for short, whole in [pair.split()]}


def parts_of(name: str) -> list[str]:
    """The words of a name, or of any text, as they stand in it, in lower case."""
    return [word.lower() for word in _WORD.findall(name)]


def words_of(name: str) -> list[str]:
    """The words of a name, in lower case and in full: `maxAmt_EUR` is max, amount, eur. The `no` at the end of a name
    of several words is a number."""
    words = parts_of(name)
    if len(words) > 1 and words[-1] == "no":
        words[-1] = "number"
    return [_WHOLE.get(word, word) for word in words]
