"""What the only example of a text says of others: which sort they are of, and how far they may differ from it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from iterft.synth.values import Kind

_CODE = re.compile(
    r"(?!H26|MP\d|SHA|UTF|ISO|RFC|AES|RSA)[A-Z]{1,5}[-_#/]?\d{2,}"  # S-042, B12; no name of a standard
    r"|[A-Za-z]{1,12}[-_#/]\d{3,}"  # ord_1234
    r"|[A-Z]{1,5}(?:[-_/]\d{2,}){2,}"  # INV-2026-0113
    r"|#?\d{5,}"
    r"|\d{6,}(?:[.-]\d+)+"  # 1234567890.123456
)
_YEAR_OR_DIGITS = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)|\d")
_SORTS: Sequence[tuple[str, str]] = (
    ("names", r"[A-Z][a-z]+(?: [A-Z][a-z]+)*"),
    ("title", r"[A-Z][a-z]+(?: [a-z-]+)+"),
    ("words", r"[a-z-]+(?: [a-z-]+)*"),
    ("address of mail", r"\S+@\S+"),
    ("address of a page", r"https?://\S+"),
)
_NUM_PROBES = 16


def is_of_a_kind(example: str, kind: Kind) -> bool:
    """Whether what the kind draws is the example itself, or most of it is as alike to it as can be told from signs."""
    random = Random(0)
    drawn = [str(kind.draw(random).accepted[0]) for _ in range(_NUM_PROBES)]
    sort = _sort(example)
    return example in drawn or (sort != "" and 2 * sum(_sort(text) == sort for text in drawn) > len(drawn))


def another(example: str, random: Random) -> str:
    """A code with other digits, of which years are kept; everything else as it is."""
    if not _CODE.fullmatch(example):
        return example

    def redrawn(match: re.Match[str]) -> str:
        digit = match[0]
        is_first = match.start() == 0 or not example[match.start() - 1].isdigit()
        return digit if len(digit) > 1 else random.choice("123456789" if is_first and digit != "0" else "0123456789")

    return _YEAR_OR_DIGITS.sub(redrawn, example)


def _sort(text: str) -> str:
    return next((sort for sort, pattern in _SORTS if re.fullmatch(pattern, text)), "")
