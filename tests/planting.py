"""Faults of every kind planted into made samples, each into a sample of its own, and what the rules say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import faults_consistency
import faults_definition
import faults_dialogue
import faults_executability
from places import Plant
from plants import ALSO

from iterft.build import DIALECTS
from iterft.synth.checks import check
from iterft.synth.pipeline import Order, nothing_yet, synthesize
from iterft.synth.rows import sample_of
from iterft.synth.stock import built_in_tools, stock_of
from iterft.synth.tasks import generate
from iterft.types import Sample

FAULTS: Mapping[str, Sequence[Plant]] = {
    **faults_definition.FAULTS,
    **faults_executability.FAULTS,
    **faults_dialogue.FAULTS,
    **faults_consistency.FAULTS,
}
"""Reason -> plants, each another way to break this rule."""


@dataclass(frozen=True)
class Planted:
    """A fault, the sample as it was, and with it. `way`: which of the reason's plants."""

    reason: str
    way: int
    sound: Sample
    broken: Sample


def grounds(num_each: int, seed: int) -> list[Sample]:
    """What `num_each` faults of every kind can be planted into, and more: built-in samples, and as many of
    dialogues with results, questions and summaries."""
    num_samples = 1000 + num_each * len(FAULTS) * 3 // 2
    stock = stock_of(built_in_tools())
    order = Order(num_samples // 2, seed, "grounds", False, frozenset(), lambda sample: [])
    rows = [row for entry in synthesize(stock, order, nothing_yet(stock)) for row in entry["rows"]]
    samples = [*generate(num_samples - len(rows), seed, "train"), *map(sample_of, rows)]
    Random(seed).shuffle(samples)
    return samples


def planted(samples: Sequence[Sample], num_each: int, seed: int) -> list[Planted]:
    """Up to `num_each` faults of every kind, its plants in turn, each in a sample that no other is planted into. Fewer
    where the samples have no more places."""
    used: set[int] = set()
    looked_at = {(reason, way): 0 for reason, plants in FAULTS.items() for way in range(len(plants))}
    found: list[Planted] = []
    for number in range(num_each):
        for reason, plants in FAULTS.items():
            for turn in range(len(plants)):
                way = (number + turn) % len(plants)
                one = _next(reason, way, samples, looked_at, used, seed)
                if one is not None:
                    found.append(one)
                    break
    return found


def _next(
    reason: str, way: int, samples: Sequence[Sample], looked_at: dict[tuple[str, int], int], used: set[int], seed: int
) -> Planted | None:
    for at in range(looked_at[reason, way], len(samples)):
        looked_at[reason, way] = at + 1
        if at not in used:
            pair = FAULTS[reason][way](samples[at], Random(f"{seed} {reason} {samples[at].id}"))
            if pair is not None:
                used.add(at)
                return Planted(reason, way, *pair)
    return None


@dataclass(frozen=True)
class Outcome:
    """The rules that a planted fault's sample broke before, and breaks with it."""

    planted: Planted
    before: frozenset[str]
    after: frozenset[str]

    @property
    def is_caught(self) -> bool:
        return self.planted.reason in self.after

    @property
    def others(self) -> frozenset[str]:
        return self.after - {self.planted.reason}

    @property
    def is_right(self) -> bool:
        """Whether nothing was wrong before, and then what was planted, and nothing that it cannot help."""
        return not self.before and self.is_caught and self.others <= ALSO.get(self.planted.reason, set())


def outcome(planted: Planted) -> Outcome:
    return Outcome(planted, reasons(planted.sound), reasons(planted.broken))


def reasons(sample: Sample) -> frozenset[str]:
    return frozenset(objection.reason for objection in check(sample, tuple(DIALECTS.values())))
