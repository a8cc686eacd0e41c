"""Days and times of day in what the user said last, and how else they may be written: 2026-03-05 and 5 March 2026,
14:30 and 2:30 pm.

Only where the parameter tells the form it wants, so that the reference does not hang on how it was said. Next to
a number that is no whole day or time ("from 5 to 8 March 2026", "3 pm or 4") they stay: one lends the other its month,
or its half of the day.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from iterft.augment.request import Place, Said
from iterft.json_schema import FORMATS
from iterft.ways_to_write import MONTHS, clock_forms, date_forms

MONTH = f"(?P<month>{'|'.join(MONTHS)})"
DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
DAYS = [
    re.compile(rf"(?<![\w./-])(?:{form})(?![\w/-])(?!:\d)", re.IGNORECASE)
    for form in (
        r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)",
        rf"(?:the )?{DAY} (?:of )?{MONTH},? (?P<year>\d{{4}})",
        rf"{MONTH} {DAY},? (?P<year>\d{{4}})",
    )
]
CLOCK = re.compile(
    r"(?<![\w:./-])(?P<hour>\d{1,2})(?::(?P<minute>\d\d))?(?:\s?(?P<half>[ap]m))?(?![\w:/-])(?!\s?[ap]\.m)",
    re.IGNORECASE,
)
ISO_CLOCK = re.compile(r"(\d{1,2}):(\d\d)")
RANGE = r"\s*(?:to|and|or|through|until|till|from|,|-|\u2013|\u2014|/|&|\+)\s*(?:the\s)?"
NUMBER_BEFORE = re.compile(rf"(?:\d(?:st|nd|rd|th|\s?[ap]m)?|{'|'.join(MONTHS)}){RANGE}\Z", re.IGNORECASE)
NUMBER_AFTER = re.compile(rf"{RANGE}\d", re.IGNORECASE)
FORM = re.compile(r"\bYYYY\b|\bISO\b|\bHH:MM\b|\b24[- ]?hours?\b", re.IGNORECASE)


def tells_form(schema: Mapping[str, Any]) -> bool:
    """Whether a schema says how a text is to be written."""
    return "format" in schema or "pattern" in schema or FORM.search(str(schema.get("description") or "")) is not None


def day_places(value: Said, text: str) -> Iterator[Place]:
    if not tells_form(value.schema) or not FORMATS["date"](value.first):
        return
    day = datetime.date.fromisoformat(value.first)
    mentions = [found for form in DAYS for found in form.finditer(text) if day_of(found) == day]
    for found in mentions if len(mentions) == 1 else ():
        forms = date_forms(day)
        if text[: found.start()].lower().endswith("the "):
            forms = tuple(form for form in forms if not form.startswith("the "))
        yield from among(found, forms, text)


def clock_places(value: Said, text: str) -> Iterator[Place]:
    clock = ISO_CLOCK.fullmatch(value.first)
    if not tells_form(value.schema) or not clock:
        return
    time = int(clock[1]), int(clock[2])
    mentions = [found for found in CLOCK.finditer(text) if time_of(found) == time]
    for found in mentions if len(mentions) == 1 else ():
        yield from among(found, clock_forms(*time), text)


def among(found: re.Match[str], forms: Sequence[str], text: str) -> Iterator[Place]:
    """The place with the other forms, unless it lends something to a number beside it."""
    without = whole_ones_blotted(text)
    if not NUMBER_BEFORE.search(without[: found.start()]) and not NUMBER_AFTER.match(without, found.end()):
        yield Place(*found.span(), [form for form in dict.fromkeys(forms) if form.lower() != found[0].lower()])


def whole_ones_blotted(text: str) -> str:
    """The text, as long as it was, without the days and times that need nothing from their neighbours."""
    for form in DAYS:
        text = form.sub(lambda found: "_" * len(found[0]), text)
    return CLOCK.sub(lambda found: "_" * len(found[0]) if is_whole(found) else found[0], text)


def is_whole(clock: re.Match[str]) -> bool:
    """2:30 may be either half of the day."""
    return bool(clock["half"] or (clock["minute"] and (int(clock["hour"]) > 12 or clock["hour"].startswith("0"))))


def day_of(found: re.Match[str]) -> datetime.date | None:
    month = found["month"].capitalize()
    number = MONTHS.index(month) + 1 if month in MONTHS else int(month)
    try:
        return datetime.date(int(found["year"]), number, int(found["day"]))
    except ValueError:  # the 31st of February
        return None


def time_of(found: re.Match[str]) -> tuple[int, int] | None:
    """(hour, minute); None for a number that is no time of day."""
    hour, minute, half = int(found["hour"]), int(found["minute"] or 0), (found["half"] or "").lower()
    if not half:
        return (hour, minute) if found["minute"] and hour < 24 and minute < 60 else None
    return (hour % 12 + 12 * (half == "pm"), minute) if 1 <= hour <= 12 and minute < 60 else None
