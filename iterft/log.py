"""What a run says: lines and progress bars on the console, one JSON object per event in `metrics.jsonl`.

With a terminal the bars are rich's; without one each bar becomes plain lines, every tenth of the way and every minute.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from collections.abc import Iterator as Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from iterft.journal import read_journal

MINUTE = 60.0


class Advance(Protocol):
    """Reports progress: `advance()` or `advance(n)` steps done."""

    def __call__(self, steps: int = 1) -> None: ...


class Log:
    """Writes to the console and appends to `metrics_path`, if given. `quiet` drops the console part."""

    def __init__(self, metrics_path: Path | None = None, *, quiet: bool = False) -> None:
        self.metrics_path = metrics_path
        self.quiet = quiet
        self.num_metrics = 0
        self.track: Callable[[str, Mapping[str, Any], int], None] | None = None
        self.started = time.perf_counter()
        self.said: set[str] = set()

    def take_up(self) -> None:
        """Goes on behind the metrics that an earlier start has left, the last of them dropped if a kill tore it."""
        if self.metrics_path is not None:
            self.num_metrics = sum(1 for _ in read_journal(self.metrics_path))

    def say(self, line: str) -> None:
        """One line for the person watching."""
        if not self.quiet:
            elapsed = int(time.perf_counter() - self.started)
            print(f"[{elapsed // 60:3d}:{elapsed % 60:02d}] {line}", flush=True)

    def say_once(self, line: str) -> None:
        """A line that holds for the whole run."""
        if line not in self.said:
            self.said.add(line)
            self.say(line)

    def metric(self, event: str, **values: Any) -> None:
        """One line of `metrics.jsonl`; the same, with the line's number, to whoever tracks the run."""
        if self.metrics_path is not None:
            with self.metrics_path.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"event": event, **values}) + "\n")
        if self.track:
            self.track(event, values, self.num_metrics)
        self.num_metrics += 1

    @contextmanager
    def progress(self, name: str, total: int, done: int = 0) -> Iterable[Advance]:
        """A progress bar of `total` steps, `done` of them before it began; yields the function that moves it."""
        if self.quiet or total == 0:
            yield lambda steps=1: None
        elif sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Progress(*columns, transient=True) as bars:
                task = bars.add_task(name, total=total, completed=done)
                yield lambda steps=1: bars.update(task, advance=steps)
        else:
            yield PlainProgress(self, name, total, done)


class PlainProgress:
    """Ten lines instead of a bar, and one whenever there was none for a minute; with the minutes left, if any."""

    def __init__(self, log: Log, name: str, total: int, done: int) -> None:
        self.log, self.name, self.total = log, name, total
        self.done = self.begun = done
        self.started = self.said = time.perf_counter()

    def __call__(self, steps: int = 1) -> None:
        before = self.done * 10 // self.total
        self.done += steps
        now = time.perf_counter()
        if self.done * 10 // self.total > before or now - self.said >= MINUTE:
            self.said = now
            minutes = (self.total - self.done) * (now - self.started) / max(1, self.done - self.begun) / MINUTE
            self.log.say(f"  {self.name}: {self.done}/{self.total}" + (f", {minutes:.0f} min left" * (minutes >= 1)))
