"""Our metrics for a dashboard too: what goes to `metrics.jsonl` is sent to the trackers that `report_to` names.

accelerate's trackers do the talking. Sent are numbers only, one name each: `warm-up/loss`, `update/rewards/margins`,
`iteration/accuracy`, `iteration/by_kind/single`, ... A tracker's step is the number of the line in `metrics.jsonl`, so
that a run that is taken up again goes on where it was.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from iterft.log import Log


@contextmanager
def report_to(names: Sequence[str], run: Path, settings: Mapping[str, Any], log: Log) -> Iterator[None]:
    """While it is open, what `log` is told goes to the trackers of these names as well. ValueError when one is not
    installed."""
    trackers = open_trackers(names, run, settings) if names else []

    def track(event: str, values: Mapping[str, Any], step: int) -> None:
        for tracker in trackers:
            tracker.log(numbers_of(event, values), step=step)

    log.track = track
    try:
        yield
    finally:
        for tracker in trackers:
            tracker.finish()


def open_trackers(names: Sequence[str], run: Path, settings: Mapping[str, Any]) -> list[Any]:
    """accelerate's trackers, started and told the settings."""
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"report_to: {name} is not installed; pip install {name}, or leave it out")
    PartialState()
    trackers = []
    for name in names:
        factory = LOGGER_TYPE_TO_CLASS[name]
        if factory.requires_logging_directory:
            tracker = factory(run.name, logging_dir=run / name)
        else:
            tracker = factory("iterft", name=run.name)
        tracker.start()
        tracker.store_init_configuration({key: str(value) for key, value in leaves(settings)})
        trackers.append(tracker)
    return trackers


def numbers_of(event: str, values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one event by name. A share [right, total] becomes right / total."""
    prefix = values.get("stage", event)
    numbers = {}
    for key, value in leaves(values):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            numbers[f"{prefix}/{key}"] = float(value)
        elif key.startswith("by_kind/"):
            right, total = value
            numbers[f"{prefix}/{key}"] = right / total
    return numbers


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name, value) of everything that is no mapping, names joined by "/"."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value
