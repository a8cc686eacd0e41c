"""Numbers in what the user said last, and how else they may be written: 3 and three, 1500 and 1,500, 15% and 15
percent.

A number stays where it may be part of something larger: next to another number or a sign, behind a capital as in
"Windows 10", before "pm", "million" or "and a half"; a number that is a name (an id, a page, a year) stays as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from iterft.augment.pool import WORD
from iterft.augment.request import Place, Said, begins_sentence
from iterft.json_schema import is_number, types_of
from iterft.ways_to_write import MONTHS, NUMBER_WORDS

ANY = re.compile(rf"\d[\d,]*(?:\.\d+)?|\b(?:{'|'.join(NUMBER_WORDS)})\b", re.IGNORECASE)
ALONE = re.compile(
    rf"(?<!\S)([$€£]?)(\d{{1,3}}(?:,\d{{3}})+|\d+|{'|'.join(NUMBER_WORDS)})(?=[.,!?;:]?(?:\s|\Z))", re.IGNORECASE
)
PERCENT = re.compile(r"(?<!\S)(\d+(?:\.\d+)?)(?:%| per ?cent)(?=[.,!?;:]?(?:\s|\Z))")
DECIMAL = re.compile(r"(?<!\S)(0\.\d+)(?=[.,!?;:]?(?:\s|\Z))")
BEFORE = re.compile(r"(\S+)\s+\Z")
AFTER = re.compile(r"[.,!?;:]?\s+(\S+)")
WORD_BEFORE = re.compile(r"[A-Za-z'\u2019-]+[,:;.!?]?")
IN_A_ROW = re.compile(r"\d\S*\s+(?:and|or|to|by)\s+\Z"), re.compile(r"\s+(?:and|or|to|by)\s+\S*\d")
AND_A_PART = re.compile(r"\s+and\s+(?:an?|one|two|three)\b", re.IGNORECASE)
SIGNS = ".,:;!?"
WORDS = re.compile(r"\S+")
NEVER_BEFORE = frozenset(map(str.lower, MONTHS)).union(
    WORDS.findall(
        """twenty thirty forty fifty sixty seventy eighty ninety hundred thousand point minus negative half quarter
        past plus times"""
    )
)
NEVER_AFTER = frozenset(map(str.lower, MONTHS)).union(
    WORDS.findall(
        """hundred thousand million billion dozen half halves third thirds quarter quarters fourth fourths fifth fifths
        sixth sixths eighth eighths tenth tenths am pm a.m p.m o'clock point times plus minus x percent cent"""
    )
)
NAMES = frozenset(
    WORDS.findall(
        """id ids no code year zip zipcode postcode postal port pin phone telephone account isbn version serial order
        ticket invoice reference ref card flight room house key index page chapter level grade"""
    )
)
"""Words of parameters whose numbers are names, or places in an order."""
YEARS = range(1800, 2200)
FEWEST_GROUPED = 1000
CLOSE = 1e-9


def number_places(value: Said, text: str) -> Iterator[Place]:
    """A whole number as a word, or with separators, or without."""
    number = value.first
    if (
        not is_numeric(value)
        or number != int(number)
        or any(each != number for each in value.accepted)
        or is_name(value)
    ):
        return
    if num_mentions(text, number) != 1:
        return
    for found in ALONE.finditer(text):
        start, end = found.span(2)
        if number_in(found[2]) == number and stands_alone(text, found.start(), end):
            options = other_forms(found[2], int(number), is_price=bool(found[1]))
            is_first = begins_sentence(text, start)
            if options:
                yield Place(start, end, [option.capitalize() if is_first else option for option in options])


def percent_places(value: Said, text: str) -> Iterator[Place]:
    """A percentage with its sign or its word; as a decimal where the reference is that decimal, and the other way where
    it is the percentage and accepts the decimal."""
    if not is_numeric(value):
        return
    for found in PERCENT.finditer(text):
        said = float(found[1])
        if num_mentions(text, said) != 1:
            continue
        is_decimal = abs(said / 100 - value.first) < CLOSE
        if said != value.first and not is_decimal:
            continue
        options = [f"{found[1]}%", f"{found[1]} percent"]
        options += (
            [str(value.first)]
            if is_decimal and not num_mentions(text, value.first) and stands_alone(text, *found.span())
            else []
        )
        yield Place(*found.span(), [option for option in options if option != found[0]])
    for found in DECIMAL.finditer(text):
        said = float(found[1])
        is_accepted = any(abs(each - said) < CLOSE for each in value.accepted)
        if is_accepted and abs(100 * said - value.first) < CLOSE and num_mentions(text, said) == 1:
            yield Place(*found.span(1), [f"{value.first}%"])


def is_numeric(value: Said) -> bool:
    types = types_of(value.schema)
    is_declared = ("integer" in types or "number" in types) and "string" not in types
    return is_declared and all(map(is_number, value.accepted))


def is_name(value: Said) -> bool:
    words = [word.lower() for word in WORD.findall(value.name)]
    return not NAMES.isdisjoint(words) or words[-1:] == ["number"]


def num_mentions(text: str, number: float) -> int:
    """How often the text says the number, in digits or as a word, alone or inside of something."""
    return sum(number_in(found) == number for found in ANY.findall(text))


def number_in(written: str) -> float:
    lower = written.lower()
    return float(NUMBER_WORDS.index(lower)) if lower in NUMBER_WORDS else float(written.replace(",", ""))


def other_forms(written: str, number: int, *, is_price: bool) -> list[str]:
    """ "one" stays, which is not always a number."""
    digits = str(number)
    if written.lower() in NUMBER_WORDS:
        return [digits] if number != 1 else []
    if "," in written:
        return [digits]
    if written != digits:  # leading zeros
        return []
    if number < len(NUMBER_WORDS):
        return [] if is_price else [NUMBER_WORDS[number]]
    return [f"{number:,}"] if number >= FEWEST_GROUPED and (is_price or number not in YEARS) else []


def stands_alone(text: str, start: int, end: int) -> bool:
    """Whether what is around makes it no part of something larger."""
    if before := BEFORE.search(text[:start]):
        word = before[1].rstrip(SIGNS)
        is_named = word[:1].isupper() and not begins_sentence(text, before.start(1))
        if is_named or not WORD_BEFORE.fullmatch(before[1]) or word.lower() in NEVER_BEFORE:
            return False
    if AND_A_PART.match(text, end) or IN_A_ROW[0].search(text[:start]) or IN_A_ROW[1].match(text, end):
        return False
    after = AFTER.match(text, end)
    return not after or (after[1][0].isalpha() and after[1].rstrip(SIGNS).lower() not in NEVER_AFTER)
