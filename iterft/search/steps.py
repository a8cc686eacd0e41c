"""Cutting a turn into steps at token-exact structural boundaries.

A boundary lies behind the first token by which an element (think part, tool name, argument value, call, list of calls)
is complete, or by which it is settled that the turn is prose.
So steps are spans of the ids that were sampled, and concatenating them gives those ids back. Because the reader is
incremental, the steps of a turn's prefix are steps of the turn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate

from iterft.chat import Dialect, finish, read
from iterft.types import FinishReason, PartialTurn

KEPT = {
    "turn": frozenset[str](),
    "call": frozenset({"think", "prose", "call", "end"}),
    "argument": frozenset({"think", "prose", "name", "argument", "call", "end"}),
}
"""`search.step` -> the marks at which it cuts."""


@dataclass(frozen=True)
class Span:
    """Tokens [start, stop) of a turn, the kind of element they complete, and what is settled behind them."""

    start: int
    stop: int
    kind: str
    partial: PartialTurn


def cut(dialect: Dialect, step: str, token_texts: list[str], finish_reason: FinishReason, begin: int = 0) -> list[Span]:
    """Spans of a turn from token `begin` on, which must be a boundary (or 0).

    A turn that ran out of tokens ("length") has an error in its last span; one that was refuted is left as it stands.
    """
    text = "".join(token_texts)
    ends = list(accumulate(map(len, token_texts)))
    whole = read(dialect, text)
    known = read(dialect, text[: ends[begin - 1]]).marks if begin else ()
    boundaries: dict[int, tuple[str, PartialTurn]] = {}
    token = begin
    for mark in whole.marks[len(known) :]:
        while ends[token] < mark.end:
            token += 1
        scan = read(dialect, text[: ends[token]])
        while mark not in scan.marks:
            # A bare number or word ends where its mark says, but is complete only once the next character is seen.
            token += 1
            scan = read(dialect, text[: ends[token]])
        if mark.kind in KEPT[step] and token + 1 < len(token_texts) + (finish_reason == "refuted"):
            boundaries[token + 1] = mark.kind, scan.partial
    spans, start = [], begin
    for stop, (kind, partial) in boundaries.items():
        spans.append(Span(start, stop, kind, partial))
        start = stop
    if start == len(token_texts):
        return spans
    partial = whole.partial
    if finish_reason == "stop":
        partial = replace(partial, error=finish(partial).error, finished=True)
    elif finish_reason == "length":
        partial = replace(partial, error=partial.error or "the turn did not end within the token budget")
    return [*spans, Span(start, len(token_texts), "turn", partial)]
