"""Rows sorted into sound ones and rejected ones with their reasons. The rules are `checks`; here is only who goes
where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from iterft.data import Reading, as_row
from iterft.synth.checks import Objection
from iterft.synth.rows import besides, line_of, row_of
from iterft.types import Sample

UNREADABLE = "unreadable"
SELF_REFERRING = "self_referring_schema"

Judge = Callable[[Sample], Sequence[Objection]]


@dataclass
class Tally:
    """What was seen so far: rows, samples, samples without objection, samples by reason, the first of each reason, and
    what rows of our own form say besides, by the id of the sample."""

    num_rows: int = 0
    num_samples: int = 0
    num_sound: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    firsts: dict[str, str] = field(default_factory=dict)
    besides: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def count(self, name: str, objections: Sequence[Objection]) -> None:
        self.reasons.update({objection.reason for objection in objections})
        for objection in objections:
            self.firsts.setdefault(objection.reason, f"{name}: {objection.detail}")


def sift(readings: Iterable[Reading], judge: Judge, clean: TextIO | None, rejected: TextIO | None) -> Tally:
    """Judges every sample and writes it, in our own form, to `clean` or `rejected`, where these are given. A rejected
    one carries its `reasons`; a row that cannot be read is kept as it is, as `row`. What a row of our own form says
    beside its sample stays."""
    tally = Tally()
    for reading in readings:
        tally.num_rows += 1
        if reading.fault:
            fault = Objection(f"{UNREADABLE}: {reading.fault.reason}", reading.fault.detail)
            tally.count(f"row {reading.number}", [fault])
            _write(rejected, {"number": reading.number, "reasons": _told([fault]), "row": reading.content})
        more = besides(as_row(reading.content)) if reading.form == "own" and reading.samples else {}
        for sample in reading.samples:
            tally.num_samples += 1
            if more:
                tally.besides[sample.id] = more
            objections = _judged(judge, sample)
            tally.count(sample.id, objections)
            if objections:
                _write(rejected, row_of(sample, **more, reasons=_told(objections)))
            else:
                tally.num_sound += 1
                _write(clean, row_of(sample, **more))
    return tally


def _judged(judge: Judge, sample: Sample) -> Sequence[Objection]:
    try:
        return judge(sample)
    except RecursionError:
        return [Objection(SELF_REFERRING, "a $ref leads back to itself, so that no value has an end")]


def _told(objections: Sequence[Objection]) -> list[dict[str, str]]:
    return [{"reason": objection.reason, "detail": objection.detail} for objection in objections]


def _write(out: TextIO | None, row: Any) -> None:
    if out is not None:
        out.write(line_of(row))
