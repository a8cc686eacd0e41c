"""Synthesis in rounds: dialogues outside the range of complexity are made harder or simpler and measured again.

Round 1 measures dialogues as they were drawn. In each later round those with a sample outside are remade: a backend
offers others (`Remake`), the one that is forecast nearest the middle of the range is measured, and takes the place of
the earlier one if it is better. All that happens is an item of the journal, so that a killed run goes on. Not here:
what complexity is (`complexity`), how dialogues are remade (`redraw`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from iterft.log import Log
from iterft.protocols import Policy
from iterft.synth.complexity import Learner, Probe, Range, complexities, find_range
from iterft.synth.levers import Forecast, Row, fit
from iterft.synth.near import NearDuplicates
from iterft.synth.rows import sample_of

Entry = Mapping[str, Any]
"""A dialogue as the pipeline journals it: {"kind", "asked", "rows"}."""

_CHUNK = 64
"""Dialogues measured at a time: so many a kill can cost."""
_MARGIN = 0.05
"""The lowest and the highest complexities, this share of all each, do not count as seen when one is aimed at."""


class Remake(Protocol):
    """A backend's way to other dialogues."""

    def __call__(self, entry: Entry, number: int, attempt: int, *, harder: bool) -> Sequence[dict[str, Any]]:
        """Dialogues of the same kind, with as many rows and the same ids, in place of dialogue `number`. A second
        `attempt` gives others than the first. [] where nothing comes of it."""
        ...


@dataclass(frozen=True)
class Standing:
    """Samples with calls after a round: how many are inside, too easy, too hard. Of the dialogues remade in it, how
    many such samples were measured and how many of these are inside, kept or not."""

    inside: int
    too_easy: int
    too_hard: int
    measured: int
    landed: int

    @property
    def total(self) -> int:
        return self.inside + self.too_easy + self.too_hard


@dataclass
class Rounds:
    """The dialogues as they stand. `complexities`: of their rows, as far as measured; `made`: the round each was made
    in; `waiting`: the numbers of those still to be remade in this round; `known`: how many of the rows measured the
    forecast of this round may use."""

    dialogues: list[Entry]
    texts: NearDuplicates
    complexities: list[Sequence[float]] = field(default_factory=list)
    made: list[int] = field(default_factory=list)
    probe: Probe | None = None
    round: int = 1
    waiting: list[int] = field(default_factory=list)
    past: list[Standing] = field(default_factory=list)
    measured: list[tuple[Row, float]] = field(default_factory=list)
    known: int = 0
    landed: list[bool] = field(default_factory=list)

    def add(self, item: Mapping[str, Any]) -> None:
        """Takes an item of the journal."""
        if "probe" in item:
            self.probe = Probe(**{**item["probe"], "bounds": Range(**item["probe"]["bounds"])})
        elif item["round"] == 1:
            for losses in item["complexities"]:
                self.measured += calling(self.dialogues[len(self.made)], losses)
                self.complexities.append(losses)
                self.made.append(1)
        else:
            while self.round < item["round"]:
                self.begin()
            for number, entry, losses in item["remade"]:
                self.waiting.remove(number)
                if entry:
                    self.take(number, entry, losses)

    def take(self, number: int, entry: Entry, losses: Sequence[float]) -> None:
        """A dialogue remade: it stays if more of its samples are inside, or as many and all in all they are nearer."""
        self.texts.add(entry["asked"])
        fresh = calling(entry, losses)
        self.measured += fresh
        self.landed += [self.bounds.excess(loss) == 0 for _, loss in fresh]
        if self.merit(entry, losses) > self.merit(self.dialogues[number], self.complexities[number]):
            self.dialogues[number], self.complexities[number], self.made[number] = entry, losses, self.round

    def begin(self) -> None:
        """Ends a round and begins the next."""
        self.past.append(self.standing())
        self.round += 1
        self.waiting = [number for number in range(len(self.dialogues)) if any(self.excesses(number))]
        self.known = len(self.measured)
        self.landed = []

    @property
    def found(self) -> Probe:
        assert self.probe, "nothing is judged before there is a range"
        return self.probe

    @property
    def bounds(self) -> Range:
        return self.found.bounds

    def excesses(self, number: int) -> list[float]:
        """Of the samples with calls of a dialogue."""
        rows = calling(self.dialogues[number], self.complexities[number])
        return [self.bounds.excess(loss) for _, loss in rows]

    def merit(self, entry: Entry, losses: Sequence[float]) -> tuple[int, float]:
        excesses = [self.bounds.excess(loss) for _, loss in calling(entry, losses)]
        return excesses.count(0.0), -sum(map(abs, excesses))

    def standing(self) -> Standing:
        excesses = [excess for number in range(len(self.made)) for excess in self.excesses(number)]
        easy, hard = (sum(sign * excess > 0 for excess in excesses) for sign in (-1, 1))
        return Standing(excesses.count(0.0), easy, hard, len(self.landed), sum(self.landed))

    @property
    def standings(self) -> list[Standing]:
        """One a round, this one included."""
        return [*self.past, self.standing()]

    def forecast(self) -> Forecast:
        """By what was measured before this round."""
        return fit(self.measured[: self.known])

    def middle(self) -> float:
        """What is aimed at, as the logarithm of a complexity: the middle of the part of the range that was seen, or the
        bound that is nearest to what was."""
        seen = sorted(loss for _, loss in self.measured[: self.known])
        margin = int(_MARGIN * len(seen))
        ends = (min(max(loss, self.bounds.lower), self.bounds.upper) for loss in (seen[margin], seen[-1 - margin]))
        return sum(map(math.log, ends)) / 2

    def rows(self) -> list[dict[str, Any]]:
        """Of all dialogues, the complexity and the round in their provenance."""
        return [
            {**row, "provenance": {**row["provenance"], "complexity": float(f"{loss:.4g}"), "round": made}}
            for entry, losses, made in zip(self.dialogues, self.complexities, self.made, strict=True)
            for row, loss in zip(entry["rows"], losses, strict=True)
        ]


def calling(entry: Entry, losses: Sequence[float]) -> list[tuple[Row, float]]:
    """The rows with calls and their complexities."""
    return [(row, loss) for row, loss in zip(entry["rows"], losses, strict=True) if row["answer"]]


def guide(
    rounds: Rounds, learner: Learner, remake: Remake, num_rounds: int, num_probe: int, out: Path, log: Log
) -> Iterator[dict[str, Any]]:
    """Items of the journal, each added to `rounds`, until `num_rounds` are done. `num_probe`: so many samples, the
    first ones, tell the range. `out`: where a short tuning leaves its checkpoint."""
    for item in _measure(rounds, learner, log):
        rounds.add(item)
        yield item
    if rounds.probe is None:
        rows = [row for entry in rounds.dialogues for row in entry["rows"]][:num_probe]
        losses = [loss for each in rounds.complexities for loss in each][:num_probe]
        probe = find_range(learner, list(map(sample_of, rows)), losses, out, log)
        item = {"round": 1, "probe": asdict(probe)}
        rounds.add(item)
        yield item
    log.say(f"complexity under {learner.name}: {told_probe(rounds.found)}")
    while rounds.round < num_rounds or rounds.waiting:
        if not rounds.waiting:
            log.say(told_standing(rounds.round, rounds.standing()))
            rounds.begin()
        for item in _remake(rounds, learner, remake, log):
            rounds.add(item)
            yield item
    log.say(told_standing(rounds.round, rounds.standing()))


def _measure(rounds: Rounds, learner: Learner, log: Log) -> Iterator[dict[str, Any]]:
    """The complexities of all dialogues that have none yet."""
    total = len(rounds.dialogues) - len(rounds.made)
    if not total:
        return
    with learner.serve(learner.checkpoint) as policy, log.progress("round 1", total) as advance:
        while chunk := rounds.dialogues[len(rounds.made) :][:_CHUNK]:
            yield {"round": 1, "complexities": _losses(policy, learner, chunk)}
            advance(len(chunk))


def _remake(rounds: Rounds, learner: Learner, remake: Remake, log: Log) -> Iterator[dict[str, Any]]:
    """Remakes what is waiting."""
    if not rounds.waiting:
        return
    forecast, middle = rounds.forecast(), rounds.middle()
    with (
        learner.serve(learner.checkpoint) as policy,
        log.progress(f"round {rounds.round}", len(rounds.waiting)) as advance,
    ):
        while chunk := rounds.waiting[:_CHUNK]:
            picked: list[Entry | None] = []
            said = NearDuplicates()
            for number in chunk:
                offers = remake(rounds.dialogues[number], number, rounds.round, harder=sum(rounds.excesses(number)) < 0)
                usable = [entry for entry in offers if _is_usable(entry, policy, learner, said)]
                picked.append(min(usable, key=lambda entry: _miss(entry, forecast, middle), default=None))
                if best := picked[-1]:
                    said.add(best["asked"])
            losses = iter(_losses(policy, learner, [entry for entry in picked if entry]))
            remade = [
                [number, entry, next(losses) if entry else []] for number, entry in zip(chunk, picked, strict=True)
            ]
            yield {"round": rounds.round, "remade": remade}
            advance(len(chunk))


def _is_usable(entry: Entry, policy: Policy, learner: Learner, said: NearDuplicates) -> bool:
    """Whether the user says something new and every prompt fits."""
    prompts = (sample_of(row).prompt for row in entry["rows"])
    is_new = not said.similarity(entry["asked"])
    return is_new and all(len(policy.render(prompt)) <= learner.max_prompt_tokens for prompt in prompts)


def _miss(entry: Entry, forecast: Forecast, middle: float) -> float:
    return sum(abs(forecast(row) - middle) for row in entry["rows"] if row["answer"])


def _losses(policy: Policy, learner: Learner, entries: Sequence[Entry]) -> list[list[float]]:
    """[dialogue][row]."""
    samples = [sample_of(row) for entry in entries for row in entry["rows"]]
    found = iter(complexities(policy, learner.world, samples))
    return [[next(found) for _ in entry["rows"]] for entry in entries]


def told_probe(probe: Probe) -> str:
    bounds = probe.bounds
    upper = f"{bounds.upper:.3f}" if math.isfinite(bounds.upper) else "no bound"
    return (
        f"range {bounds.lower:.3f} to {upper}; of {probe.num_samples} samples with calls {probe.num_before} are "
        f"solved, after a short tuning on them {probe.num_after}"
    )


def told_standing(number: int, standing: Standing) -> str:
    total = max(1, standing.total)
    remade = f"; of {standing.measured} remade {standing.landed} landed inside" if standing.measured else ""
    return (
        f"round {number}: {standing.inside / total:.1%} inside the range, {standing.too_easy / total:.1%} too easy, "
        f"{standing.too_hard / total:.1%} too hard{remade}"
    )
