"""What a parameter is about, told from the words of its name by the table `parameters.txt`: each line is
`type: words|other words = kind`, and the entry that matches most words, nearest to the end of the name, holds."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from iterft.synth.values import kind_of

_TABLE = Path(__file__).parent / "parameters.txt"


def named(kind: str, words: Sequence[str], least: int = 1) -> str:
    """The kind of the entry that fits these words best, "" where none of at least so many words does. A plural fits its
    singular. What is a whole number by its nature (a page, a count) is one where the schema says no more than "number",
    as many do."""
    best, best_rank = "", (least - 1, len(words) if least > 1 else 0)
    kinds = ("number", "integer") if kind == "number" else (kind,)
    for end, word in enumerate(words, start=1):
        for last in (word, word.removesuffix("s"), word.removesuffix("es")):
            for entry, spec in chain.from_iterable(_table().get((each, last), ()) for each in kinds):
                before = words[max(0, end - len(entry)) : end - 1]
                if (
                    (len(entry), end) > best_rank
                    and all(map(_is_number_of, before, entry))
                    and len(before) + 1 == len(entry)
                ):
                    best, best_rank = spec, (len(entry), end)
    return best


def _is_number_of(word: str, singular: str) -> bool:
    return word in (singular, f"{singular}s", f"{singular}es")


@functools.cache
def _table() -> Mapping[tuple[str, str], list[tuple[tuple[str, ...], str]]]:
    """(type, last word of the entry) -> (words of the entry, kind), from the file."""
    table: dict[tuple[str, str], list[tuple[tuple[str, ...], str]]] = {}
    for line in _TABLE.read_text(encoding="utf-8").splitlines():
        head, _, spec = line.partition(" = ")
        kind, _, entries = head.partition(": ")
        kind_of(spec)
        for entry in entries.split("|"):
            words = tuple(entry.split())
            table.setdefault((kind, words[-1]), []).append((words, spec))
    return table
