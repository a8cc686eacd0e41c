"""What the description of a parameter says of its values: examples, values that it quotes, the form, the sort of code,
bounds.

Not here: what its name says (`parameters`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_BEFORE_EXAMPLES = re.compile(
    r"(?:\b(?:e\.g\.|eg|for example|for instance|such as|examples?:|like(?= [\"'`]?\w*\d)|in the format"
    r"(?= [\"'`][^\"'`]*\d)|(?:one of|(?:possible|allowed) values)(?: are)?:))[,:]?\s*",
    re.IGNORECASE,
)
_PLAIN_EXAMPLES = re.compile(r"(.+?)(?:\)|\n|(?<!\b[A-Z])\.\s|$)")
"""Up to the end of the sentence, which is no dot behind a single letter ("410 U.S. 113")."""
_QUOTED = re.compile(r"(?<!\w)([\"'`])(.{1,80}?)\1(?!\w)")
_BETWEEN_QUOTED = re.compile(r"(?:[\s,;/|]|or\b|and\b|\([^)\"'`]*\))*")
_MOST_LISTED = 40
"""Characters of a value that is quoted and not called an example."""
_QUOTES = {0x201C: '"', 0x201D: '"', 0x2018: "'", 0x2019: "'"}
"""Typographic ones as plain ones."""
_DASH = "[-\u2013\u2014]"
_BLANK_FORM = re.compile(r"\.\.\.|\betc\b|(?<![A-Za-z])(?:YYYY|YY|MM|DD|HH)+T?(?![A-Za-z])")
"""What stands for values and is none."""
_VAGUE = re.compile(r"\b(?:the|a|an|any|this|that|your)\b")
_CITY_AND_STATE = re.compile(r"[A-Z][a-z]+(?: [A-Z][a-z]+)*, [A-Z]{2,3}\b")
_LIKE_A_VALUE = re.compile(r"\S+|(?=.*[A-Z0-9])\S+ \S+(?: \S+)?")
"""One word, or a few of which one is a name or a number."""
BLANK_MOMENT, BLANK_FULL_MOMENT = "date time", "date time:SS"
"""A day and a time of day with a blank between. None of these forms is a format of JSON schema."""
CLOCK, FULL_CLOCK = "HH:MM", "HH:MM:SS"
LOCAL_MOMENT = "date-time without zone"
"""A form that `date-time` of JSON schema is only with a zone behind it."""
PHONE = "E.164"
STAMP, STAMP_IN_MILLISECONDS = "Unix time", "Unix time in milliseconds"
_FORMS: Sequence[tuple[str, str]] = (
    ("duration", r"\bISO[ -]?8601 duration|\bdurations?\b.{0,20}\bISO"),
    (BLANK_FULL_MOMENT, r"\bYYYY-MM-DD HH:MM:SS"),
    (BLANK_MOMENT, r"\bYYYY-MM-DD HH:MM"),
    ("date-time", r"\bYYYY-MM-DDTHH:MM(?::SS)?Z|\bRFC ?3339\b"),
    (
        LOCAL_MOMENT,
        r"\bYYYY-MM-DDT|\bISO[ -]?(?:8601)? (?:date[ -]?time|timestamp|date and time)"
        r"|\b(?:timestamp|date[ -]?time|date and time|time)\b.{0,20}\bISO",
    ),
    ("date", r"\bYYYY-MM-DD\b|\bISO[ -]?(?:8601)?(?: format(?:ted)?)? dates?\b|\bdates?\b.{0,20}\bISO"),
    (FULL_CLOCK, r"\bHH:MM:SS\b"),
    (CLOCK, r"\bHH:MM\b"),
    (PHONE, r"\bE\.?164\b"),
    (
        STAMP,
        r"\b(?:unix|posix)[ -]?(?:epoch[ -]?)?(?:time ?stamps?|time|epoch|(?:milli)?seconds|ms)\b"
        r"|\bepoch (?:time ?stamps?|time|(?:milli)?seconds|ms)\b|\b(?:in|since|since the) epoch\b|\bsince 1970\b",
    ),
)
"""(form, how descriptions ask for it), the longer ones first."""
_DAY_BY_PARTS = re.compile(
    r"\b(?:(?:DD|MM)([-/. ])(?:DD|MM)\1YY(?:YY)?|YYYY([-/. ])MM(?:\2DD)?|MM([-/])YY(?:YY)?|YYYYMMDD)"
    r"(?: HH:MM(?::SS)?)?\b",
    re.IGNORECASE,
)
_MILLISECONDS = re.compile(r"\bmilliseconds\b|\bmillis\b|\bms\b", re.IGNORECASE)
_EXAMPLE_OF = r"\be\.g\.,? [\"'`]?(?-i:{0})\b"
_ISO_OF = r"\bISO\b.*\b{0}\b|\b{0}\b.*\bISO\b"
_CODES: Sequence[tuple[str, str]] = (
    (r"\bairlines?\b.*\bIATA\b|\bIATA\b.*\b(?:airlines?|carriers?)\b", "LH|BA|AF|KL|SK|TP|AY|LX"),
    (r"\bIATA\b|\bairport codes?\b", "LIS|OSL|VIE|DUB|HEL|NBO|KIX|YYZ|LIM|ATH"),
    (r"\bICAO\b", "EDDF|EGLL|LPPT|ENGM|LOWW|EIDW|EFHK|CYYZ"),
    (rf"\bISO[ -]?4217\b|\bcurrency codes?\b|{_ISO_OF.format('currency')}", "EUR|USD|GBP|JPY|CHF|SEK|PLN"),
    (rf"\bISO[ -]?639\b|\blanguage codes?\b|{_ISO_OF.format('language')}", "en|de|fr|es|pt|it|ja|nl|pl"),
    (r"\bBCP ?47\b|\blanguage tags?\b|\blocale codes?\b", "en-US|de-DE|fr-FR|pt-BR|es-MX|ja-JP"),
    (
        r"\bcity and (?:the )?state\b|(?-i:\b[A-Z][a-z]+, (?:CA|NY|TX|MA|WA|IL|FL|CO)\b)",
        "San Francisco, CA|Boston, MA|Denver, CO|Austin, TX|Chicago, IL|Seattle, WA|Miami, FL|Buffalo, NY",
    ),
    (
        r"\bstate (?:codes?|abbreviations?)\b|\btwo-letter state\b|\bU\.?S\.? states?\b(?-i:.*\b[A-Z]{2}\b)",
        "CA|NY|TX|MA|WA|IL|FL|CO",
    ),
    (rf"\bcountr(?:y|ies)\b.*{_EXAMPLE_OF.format('[A-Z][A-Z]')}", "DE|FR|PT|NO|JP|CA|PL|IE|KE|NZ"),
    (rf"\blang(?:uage)?\b.*{_EXAMPLE_OF.format('[a-z][a-z]')}", "en|de|fr|es|pt|it|ja|nl|pl"),
    (r"\balpha-?3\b|\b(?:three|3)-letter country\b", "DEU|FRA|PRT|NOR|JPN|CAN|POL|IRL|KEN"),
    (
        r"\bcountry codes?\b|\balpha-?2\b|\bISO[ -]?3166\b|\bISO codes?\b|" + _ISO_OF.format("(?:country|countries)"),
        "DE|FR|PT|NO|JP|CA|PL|IE|KE|NZ",
    ),
)
"""(how descriptions name a sort of code, some codes), the more definite ones first."""
_TABLE = [(re.compile(pattern, re.IGNORECASE), codes) for pattern, codes in _CODES]
_NUMBER = r"(-?\d[\d,]*(?:\.\d+)?)(?![\w/-]|[.,]\d| ?(?:digits?|decimals?|characters?|letters?|places?|words?)\b)"
_FIRST_NUMBER = r"(?<![\w.,/-])(-?\d[\d,]*(?:\.\d+)?)\s*%?"
_BETWEEN = re.compile(
    rf"\bbetween\s+{_FIRST_NUMBER}\s*(?:and|to|{_DASH})\s*{_NUMBER}"
    rf"|{_FIRST_NUMBER}\s*(?:\bto\b|\bthrough\b|{_DASH}|\.\.\.?)\s*{_NUMBER}"
    rf"|\b(?:in|range|within|interval)\b:?\s*[\[(]{_FIRST_NUMBER}\s*,\s*{_NUMBER}\s*[\])]",
    re.IGNORECASE,
)
_LEAST = re.compile(
    rf"(?:\bat least|\b(?:no|not) less than|\bminimum(?: of| is)?:?|\bmin:?|>=|≥)\s*{_NUMBER}"
    rf"|{_FIRST_NUMBER}\s+(?:or|and)\s+(?:more|above|greater|higher)\b",
    re.IGNORECASE,
)
_MOST = re.compile(
    rf"(?:\bat most|\bup to|\b(?:no|not) more than|\bmaximum(?: of| is)?:?|\bmax\.?:?|<=|≤)\s*{_NUMBER}"
    rf"|{_FIRST_NUMBER}\s+or\s+(?:less|fewer|below)\b",
    re.IGNORECASE,
)


def mentioned(description: str) -> list[str]:
    """Values that a description gives as examples, or two or more that it quotes."""
    text = description.translate(_QUOTES)
    start = _BEFORE_EXAMPLES.search(text)
    if start is None:
        found = [value for _, value in _QUOTED.findall(text) if len(value) <= _MOST_LISTED and not _VAGUE.search(value)]
        return _values(found) if len(found) > 1 else []
    rest = text[start.end() :]
    if quoted := _values(_quoted_first(rest)):
        return quoted
    plain = _PLAIN_EXAMPLES.match(rest)
    if plain is None:
        return []
    if city := _CITY_AND_STATE.match(plain[1]):
        return [city[0]]
    parts = re.split(r",\s*(?:or |and )?|\s+or\s+|\s+and\s+|\s*\|\s*", plain[1].strip(" ."))
    found = [value for _, value in _QUOTED.findall(plain[1])] or [
        part for part in parts if len(part) <= 24 and _LIKE_A_VALUE.fullmatch(part)
    ]
    return _values([value for value in found if not _VAGUE.search(value)])


def _quoted_first(text: str) -> list[str]:
    """The quoted values that a text begins with."""
    found = []
    at = 0
    while value := _QUOTED.match(text, at):
        found.append(value[2])
        between = _BETWEEN_QUOTED.match(text, value.end())
        at = between.end() if between else value.end()
    return found


def _values(texts: Sequence[str]) -> list[str]:
    return [text.strip() for text in texts if text.strip() and not _BLANK_FORM.search(text)]


def form_in(description: str) -> str:
    """The form that a value is asked for in: a `format`, one of those above, or a day by its parts, such as DD/MM/YYYY;
    "" where nothing says so."""
    by_parts = _DAY_BY_PARTS.search(description)
    if by_parts and not description[by_parts.start() :].upper().startswith("YYYY-MM-DD"):
        return by_parts[0].upper()
    form = next((form for form, pattern in _FORMS if re.search(pattern, description, re.IGNORECASE)), "")
    return STAMP_IN_MILLISECONDS if form == STAMP and _MILLISECONDS.search(description) else form


def codes_in(description: str) -> str:
    """Codes of the sort that is asked for, as `values` writes a choice of texts, "" where none is."""
    return next((codes for pattern, codes in _TABLE if pattern.search(description)), "")


def bounds_in(description: str) -> tuple[float | None, float | None]:
    """The least and the greatest number that a description allows, None where it does not say."""
    if both := _BETWEEN.search(description):
        low, high = (_number(text) for text in both.groups() if text)
        return (low, high) if low < high else (None, None)
    least, most = _LEAST.search(description), _MOST.search(description)
    low_end = _number(least[1] or least[2]) if least else None
    high_end = _number(most[1] or most[2]) if most else None
    is_crossed = low_end is not None and high_end is not None and low_end >= high_end
    return (None, None) if is_crossed else (low_end, high_end)


def _number(text: str) -> float:
    number = float(text.replace(",", ""))
    return int(number) if number.is_integer() else number
