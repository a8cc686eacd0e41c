"""One value in the last message of the user, written in another way that means the same: the reference stays right.

Only where that is certain. The value is typed, by its schema or by the form that its description asks for: a text that
is free is copied, and so it stays. It occurs once in the reference and once in the message, in no matter which way of
writing, and in no other text of the reference. What is quoted stays, and code. Where numbers, days and times may mean
something else is told in `numbers` and `moments`; lists and cases are found here.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from iterft.augment.moments import clock_places, day_places, tells_form
from iterft.augment.numbers import number_places, percent_places
from iterft.augment.request import HOLE, Edit, Place, Said, calls_made, open_text, texts_in, values_of
from iterft.json_schema import is_number
from iterft.types import Sample

JOINTS = ((", ", " and "), (", ", ", and "), ("; ", "; "))
"""What stands between the items of a list, and before the last."""
IN_ITEMS = re.compile(r"[,;\n]|\band\b|\bor\b")
GOES_ON = re.compile(r"\s*(?:[,;]|and\b|or\b)")
WENT_ON = re.compile(r"(?:[,;]|\band|\bor)\s*\Z|\w\Z")
MIN_ITEMS = 3
MIN_LETTERS = 3
LETTERS_AND_BLANKS = re.compile(r"[A-Za-z]+(?:[ _-][A-Za-z]+)*")


def rewording(sample: Sample, text: str, rng: random.Random) -> list[Edit]:
    """One value of the reference in `text`, what the user said last, in another wording; [] where none is certain."""
    values = values_of(sample)
    places = [place for value in certain(values) for place in places_of(value, text)]
    if places:
        opened = open_text(text)
        copied = [each.lower() for each in (*free_texts(values), *texts_in(calls_made(sample)))]
        places = [
            place
            for place in places
            if HOLE not in opened[place.start : place.end]
            and not any(text[place.start : place.end].lower() in each for each in copied)
        ]
    if not places:
        return []
    place = rng.choice(places)
    return [Edit(place.start, place.end, rng.choice(place.options))]


def places_of(value: Said, text: str) -> Iterator[Place]:
    """Where the value stands in the text, if it stands there once, with its other wordings."""
    if isinstance(value.first, list):
        yield from list_places(value.first, text)
    elif is_number(value.first):
        yield from number_places(value, text)
        yield from percent_places(value, text)
    elif isinstance(value.first, str):
        yield from enum_places(value, text)
        yield from day_places(value, text)
        yield from clock_places(value, text)


def certain(values: Sequence[Said]) -> list[Said]:
    """The values that occur once in the reference and must not be left out."""
    counts = Counter(key_of(value.first) for value in values)
    return [value for value in values if counts[key_of(value.first)] == 1 and "" not in value.accepted]


def key_of(value: Any) -> str:
    return str(float(value)) if is_number(value) else str(value).lower()


def free_texts(values: Sequence[Said]) -> list[str]:
    """The strings of the reference that nothing gives a form: they are copied as they were said."""
    return [
        text
        for value in values
        if not isinstance(value.schema.get("enum"), list) and not tells_form(value.schema)
        for text in value.accepted
        if isinstance(text, str)
    ]


def list_places(items: Sequence[Any], text: str) -> Iterator[Place]:
    """Other signs between the items."""
    written = [
        item if isinstance(item, str) else str(item) for item in items if isinstance(item, str) or is_number(item)
    ]
    if len(written) < max(MIN_ITEMS, len(items)) or any(IN_ITEMS.search(item) for item in written):
        return
    forms = [between.join(written[:-1]) + last + written[-1] for between, last in JOINTS]
    found = [(form, text.find(form)) for form in forms if form in text]
    if len(found) != 1 or text.count(found[0][0]) != 1:
        return
    form, start = found[0]
    end = start + len(form)
    if text[end : end + 1].isalnum() or GOES_ON.match(text, end) or WENT_ON.search(text[:start]):
        return
    yield Place(start, end, [other for other in forms if other != form])


def enum_places(value: Said, text: str) -> Iterator[Place]:
    """An entry of an enum in capitals, or without."""
    entries = value.schema.get("enum")
    words = value.first.replace("_", " ")
    if not isinstance(entries, list) or value.first not in entries or len(words) < MIN_LETTERS:
        return
    if text.lower().count(words.lower()) != 1:
        return
    cases = Counter(str(entry).lower() for entry in entries)
    if cases[value.first.lower()] > 1 or not LETTERS_AND_BLANKS.fullmatch(words):
        return
    found = list(re.finditer(rf"(?<![\w@/.-]){re.escape(words)}(?![\w@/-])", text, re.IGNORECASE))
    if len(found) == 1:
        options = dict.fromkeys([words.lower(), words.upper(), words.capitalize()])
        yield Place(*found[0].span(), [option for option in options if option != found[0][0]])
