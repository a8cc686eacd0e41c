"""How people write small numbers, days and times of day. What a text says there is read where it is needed."""

from __future__ import annotations

import datetime

NUMBER_WORDS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def date_forms(day: datetime.date) -> tuple[str, ...]:
    """How people write a day."""
    number, month, year = day.day, MONTHS[day.month - 1], day.year
    ordinal = _ordinal(number)
    return (
        f"{number} {month} {year}",
        f"{month} {number}, {year}",
        f"{month} {ordinal}, {year}",
        f"the {ordinal} of {month} {year}",
        day.isoformat(),
    )


def clock_forms(hour: int, minute: int) -> tuple[str, ...]:
    """How people write a time of day, the usual way twice."""
    half, twelve = ("am" if hour < 12 else "pm"), (hour - 1) % 12 + 1
    plain = f"{twelve}:{minute:02d} {half}" if minute else f"{twelve} {half}"
    return (f"{hour:02d}:{minute:02d}", plain, plain, plain.replace(" ", ""))


def _ordinal(number: int) -> str:
    suffix = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
