"""What the description of a parameter says of its values: examples, values that it quotes, the form, the sort of code.

Not here: what its name says (`typed`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_EXAMPLE = re.compile(
    r"\b(?:e\.g\.|eg|for example|for instance|such as|examples?:|(?:one of|(?:possible|allowed) values)(?: are)?:)"
    r"[,:]?\s*(.+?)(?:\)|\n|\.\s|$)",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"[\"'`]([^\"'`]{1,40})[\"'`]")
_VAGUE = re.compile(r"\b(?:the|a|an|any|this|that|etc|your)\b|\.\.\.|[YMDH]{2}")
_LIKE_A_VALUE = re.compile(r"\S+|(?=.*[A-Z0-9])\S+ \S+(?: \S+)?")
"""One word, or a few of which one is a name or a number."""
BLANK_MOMENT = "date time"
"""No format of JSON schema: a day and a time of day with a blank between."""
_FORMS: Sequence[tuple[str, str]] = (
    ("duration", r"\bISO[ -]?8601 duration|\bdurations?\b.{0,20}\bISO"),
    (BLANK_MOMENT, r"\bYYYY-MM-DD HH:MM"),
    (
        "date-time",
        r"\bYYYY-MM-DDT|\bISO[ -]?(?:8601)? (?:date[ -]?time|timestamp|date and time)|\bRFC ?3339\b"
        r"|\b(?:timestamp|date[ -]?time|date and time)\b.{0,20}\bISO",
    ),
    ("date", r"\bYYYY-MM-DD\b|\bISO[ -]?(?:8601)?(?: format(?:ted)?)? dates?\b|\bdates?\b.{0,20}\bISO"),
    ("time", r"\bHH:MM\b"),
)
"""(format, how descriptions ask for it), the longer ones first."""
_ISO_OF = r"\bISO\b.*\b{0}\b|\b{0}\b.*\bISO\b"
_CODES: Sequence[tuple[str, str]] = (
    (r"\bairlines?\b.*\bIATA\b|\bIATA\b.*\b(?:airlines?|carriers?)\b", "LH|BA|AF|KL|SK|TP|AY|LX"),
    (r"\bIATA\b|\bairport codes?\b", "LIS|OSL|VIE|DUB|HEL|NBO|KIX|YYZ|LIM|ATH"),
    (r"\bICAO\b", "EDDF|EGLL|LPPT|ENGM|LOWW|EIDW|EFHK|CYYZ"),
    (rf"\bISO[ -]?4217\b|\bcurrency codes?\b|{_ISO_OF.format('currency')}", "EUR|USD|GBP|JPY|CHF|SEK|PLN"),
    (rf"\bISO[ -]?639\b|\blanguage codes?\b|{_ISO_OF.format('language')}", "en|de|fr|es|pt|it|ja|nl|pl"),
    (r"\bBCP ?47\b|\blanguage tags?\b|\blocale codes?\b", "en-US|de-DE|fr-FR|pt-BR|es-MX|ja-JP"),
    (r"\balpha-?3\b|\b(?:three|3)-letter country\b", "DEU|FRA|PRT|NOR|JPN|CAN|POL|IRL|KEN"),
    (
        r"\bcountry codes?\b|\balpha-?2\b|\bISO[ -]?3166\b|\bISO codes?\b|" + _ISO_OF.format("(?:country|countries)"),
        "DE|FR|PT|NO|JP|CA|PL|IE|KE|NZ",
    ),
)
"""(how descriptions name a sort of code, some codes), the more definite ones first."""
_TABLE = [(re.compile(pattern, re.IGNORECASE), codes) for pattern, codes in _CODES]


def mentioned(description: str) -> list[str]:
    """Values that a description gives as examples, or two or more that it quotes."""
    example = _EXAMPLE.search(description)
    if example:
        quoted = _QUOTED.findall(example[1])
        plain = re.split(r",\s*(?:or |and )?|\s+or\s+|\s+and\s+|\s*\|\s*", example[1].strip(" ."))
        found = quoted or [part for part in plain if len(part) <= 24 and _LIKE_A_VALUE.fullmatch(part)]
    else:
        found = _QUOTED.findall(description)
        found = found if len(found) > 1 else []
    return [text.strip() for text in found if text.strip() and not _VAGUE.search(text)]


def form_in(description: str) -> str:
    """The `format` that a text is asked for in, "" where nothing says so."""
    return next((form for form, pattern in _FORMS if re.search(pattern, description, re.IGNORECASE)), "")


def codes_in(description: str) -> str:
    """Codes of the sort that is asked for, as `values` writes a choice of texts, "" where none is."""
    return next((codes for pattern, codes in _TABLE if pattern.search(description)), "")
