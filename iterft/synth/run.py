"""A run of synthesis: samples in a journal until all are there, then the file of rows and its overview."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iterft.journal import append_to_journal, digest_of
from iterft.log import Log
from iterft.synth.complexity import Learner
from iterft.synth.journal import journal_of, take_up
from iterft.synth.overview import complexity_overview, overview
from iterft.synth.pipeline import Order, Progress, nothing_yet, synthesize
from iterft.synth.redraw import redrawing
from iterft.synth.rounds import Rounds, guide
from iterft.synth.rows import line_of, replacing
from iterft.synth.stock import Stock


@dataclass(frozen=True)
class Guidance:
    """Samples are to suit `learner`: in rounds, after so many of them were probed."""

    learner: Learner
    num_rounds: int
    num_probe: int


@dataclass(frozen=True)
class Written:
    """`asked`: what the user says in each dialogue. `overview`: what the file `summary` says. `rate`: samples per
    second, those of an earlier run not counted."""

    rows: Sequence[Mapping[str, Any]]
    asked: Sequence[str]
    progress: Progress
    overview: str
    summary: Path
    rate: float


def write_samples(
    stock: Stock, order: Order, out: Path, log: Log, earlier: Sequence[str] = (), guidance: Guidance | None = None
) -> Written:
    """Makes the samples, in a journal until all are there, and writes them and their overview. A run of the same tools
    and order that was killed is gone on with. `earlier`: what the files before it ask."""
    path, progress = journal_of(out), nothing_yet(stock, order.backend, earlier)
    journalled = take_up(path, _settings(stock, order, earlier, guidance))
    if not journalled:
        shutil.rmtree(_tuning_of(out), ignore_errors=True)  # that of a run with other settings
    entries = [entry for entry in journalled if "round" not in entry]
    for entry in entries:
        progress.add(entry)
    started, num_before = time.perf_counter(), progress.counts.total()
    if num_before:
        log.say(f"going on from {path}: {num_before} samples are there")
    num_left = max(0, order.num_samples - num_before)
    with path.open("a", encoding="utf-8") as journal, log.progress("synthesis", num_left) as advance:
        for entry in synthesize(stock, order, progress):
            journal.write(line_of(entry))
            entries.append(entry)
            advance(len(entry["rows"]))
    seconds = time.perf_counter() - started
    dialogues: list[Mapping[str, Any]] = [entry for entry in entries if entry["rows"]]
    rows, told_rounds = [row for entry in dialogues for row in entry["rows"]][: order.num_samples], ""
    if guidance:
        rounds = Rounds(dialogues, progress.texts)
        for item in (entry for entry in journalled if "round" in entry):
            rounds.add(item)
        _guide(rounds, guidance, stock, order, out, log)
        rows = rounds.rows()[: order.num_samples]
        told_rounds = complexity_overview(rows, rounds, guidance.learner.name)
    with replacing(out) as file:
        file.writelines(map(line_of, rows))
    domains = {name: tool.spec.domain for name, tool in stock.tools.items()}
    told = overview(rows, order.shares, domains, progress.redrawn) + told_rounds
    summary = out.with_name(f"{out.name}.summary.txt")
    summary.write_text(told, encoding="utf-8")
    path.unlink()
    shutil.rmtree(_tuning_of(out), ignore_errors=True)
    rate = (progress.counts.total() - num_before) / max(seconds, 1e-9)
    return Written(rows, [entry["asked"] for entry in dialogues], progress, told, summary, rate)


def _guide(rounds: Rounds, guidance: Guidance, stock: Stock, order: Order, out: Path, log: Log) -> None:
    """Makes what is too easy harder and what is too hard simpler, to the last round."""
    work = _tuning_of(out)
    work.mkdir(exist_ok=True)
    remake = redrawing(stock, order, rounds.texts)
    learner, checkpoint = guidance.learner, work / "checkpoint"
    for item in guide(rounds, learner, remake, guidance.num_rounds, guidance.num_probe, checkpoint, log):
        append_to_journal(journal_of(out), item)


def _tuning_of(out: Path) -> Path:
    """The folder for the short tuning, there as long as the journal is."""
    return out.with_name(f"{out.name}.tuning")


def _settings(stock: Stock, order: Order, earlier: Sequence[str], guidance: Guidance | None) -> dict[str, Any]:
    """What the samples depend on; on how many they are only where they are made in rounds."""
    return {
        "tools": digest_of([tool.schema for tool in stock.shown.tools]),
        "returns": digest_of([tool.returns for tool in stock.tools.values()]),
        "wordings": digest_of([[tool.spec.imperatives, tool.spec.queries] for tool in stock.tools.values()]),
        "whole_list": bool(order.whole_list),
        "earlier": digest_of(earlier),
        "seed": order.seed,
        "name": order.name,
        "thinking": order.with_thinking,
        "shares": dict(order.shares),
        "alone": order.alone_share,
        "runs": digest_of(sorted(order.runs)),
        "complexity": [guidance.learner.name, guidance.num_rounds, guidance.num_probe, order.num_samples]
        if guidance  # rounds are of all samples
        else [],
        "backend": order.backend.name,
        "width": order.backend.width,
        **order.backend.settings,
    }
