"""Parameters of which one holds the lower and one the higher end of something: nobody wants what ends before it begins.

Told from their names, which differ in one word: min_price and max_price, start and end, departure_date and return_date.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import Any

from iterft.json_schema import is_number
from iterft.synth.names import words_of

_ENDS = (
    "low high|lower upper|lowest highest|min max|minimum maximum|least most|smallest largest|start end|starts ends"
    "|start stop|begin end|earliest latest|from to|since until|after before|departure return|depart return"
    "|outbound return|outbound inbound|checkin checkout|in out|opening closing|opens closes|pickup dropoff"
)
_HIGHER = {(low, high) for pair in _ENDS.split("|") for low, high in [pair.split()]}
_COUNTED = frozenset(["number", "date", "time", "day", "week", "month", "year", "hour", "index", "position", "page"])
_COUNTED |= {"row", "column", "line", "item", "frame", "chapter"}
"""Of these the first one comes before the last one; the first name of a person does not."""
_DAY = re.compile(r"\d{4}-\d\d-\d\d(?!\d)")
_IN_ORDER = re.compile(r"\d{4}-\d\d-\d\d\S*|\d\d:\d\d(?::\d\d)?")
"""Texts of which the later one is the greater."""
_MOST_DAYS = 21
"""Between two ends that are near: of a stay, a meeting, a journey."""


def ordered_pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    """(lower, higher) for all names that are such ends of one thing."""
    words = {name: words_of(name) for name in names}
    return [(one, other) for one in words for other in words if _are_ends(words[one], words[other])]


def is_crossed(low: Any, high: Any) -> bool:
    """Whether the first is not below the second, as far as they can be compared."""
    if is_number(low) and is_number(high):
        return bool(low >= high)
    if not isinstance(low, str) or not isinstance(high, str):
        return False
    return bool(_IN_ORDER.fullmatch(low) and _IN_ORDER.fullmatch(high)) and low >= high


def is_far(low: Any, high: Any) -> bool:
    """Whether both are days, with or without a time of day, that lie months apart."""
    days = [each[:10] for each in (low, high) if isinstance(each, str) and _DAY.match(each)]
    if len(days) < 2:
        return False
    first, last = map(datetime.date.fromisoformat, days)
    return abs((last - first).days) > _MOST_DAYS


def _are_ends(low: list[str], high: list[str]) -> bool:
    if len(low) != len(high):
        return False
    differing = [pair for pair in zip(low, high, strict=True) if pair[0] != pair[1]]
    if differing == [("first", "last")]:
        return low[-1] in _COUNTED
    return len(differing) == 1 and differing[0] in _HIGHER
