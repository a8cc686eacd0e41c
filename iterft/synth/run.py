"""A run of synthesis: samples in a journal until all are there, then the file of rows and its overview."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iterft.log import Log
from iterft.synth.journal import digest_of, journal_of, take_up
from iterft.synth.overview import overview
from iterft.synth.pipeline import SHARES, Order, Progress, nothing_yet, synthesize
from iterft.synth.rows import line_of, replacing
from iterft.synth.stock import Stock


@dataclass(frozen=True)
class Written:
    """`overview`: what the file `summary` says. `rate`: samples per second, those of an earlier run not counted."""

    rows: Sequence[Mapping[str, Any]]
    progress: Progress
    overview: str
    summary: Path
    rate: float


def write_samples(stock: Stock, order: Order, out: Path, log: Log) -> Written:
    """Makes the samples and writes them to `out`. A run of the same tools and order that was killed is gone on with."""
    path, progress = journal_of(out), nothing_yet(stock, order.backend)
    entries = take_up(path, _settings(stock, order))
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
    rows = [row for entry in entries for row in entry["rows"]][: order.num_samples]
    with replacing(out) as file:
        file.writelines(map(line_of, rows))
    told = overview(rows, SHARES, stock.tools, progress.redrawn)
    summary = out.with_name(f"{out.name}.summary.txt")
    summary.write_text(told, encoding="utf-8")
    path.unlink()
    rate = (progress.counts.total() - num_before) / max(seconds, 1e-9)
    return Written(rows, progress, told, summary, rate)


def _settings(stock: Stock, order: Order) -> dict[str, Any]:
    """What the samples depend on, but for how many they are."""
    return {
        "tools": digest_of([tool.schema for tool in stock.shown.tools]),
        "returns": digest_of([tool.returns for tool in stock.tools.values()]),
        "seed": order.seed,
        "name": order.name,
        "thinking": order.with_thinking,
        "runs": digest_of(sorted(order.runs)),
        "backend": order.backend.name,
        "width": order.backend.width,
        **order.backend.settings,
    }
