"""Our metrics in TensorBoard, read back from its files."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_loop import small_recipe

from iterft import Iterator, Recipe
from iterft.trackers import numbers_of, open_trackers


@pytest.mark.slow
def test_tensorboard_gets_what_metrics_jsonl_gets_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for iters in (1, 2):
        run = Iterator(small_recipe(f"iters={iters}", "report_to=[tensorboard]"), tmp_path / "run", quiet=True).run()
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard" / "run"))
    events.Reload()
    names = set(events.Tags()["scalars"])
    assert {"warm-up/loss", "update/rewards/margins", "iteration/accuracy", "iteration/seconds/search"} <= names
    shown = [(point.step, point.value) for point in events.Scalars("iteration/accuracy")]
    assert [value for _, value in shown] == pytest.approx([record["accuracy"] for record in run.records])
    num_lines = len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    steps = [step for step, _ in shown]
    assert steps == sorted(set(steps)) and steps[-1] == num_lines - 1


def test_only_numbers_are_sent_and_shares_as_such() -> None:
    record = {
        "iteration": 1,
        "by_kind": {"single": [1, 4]},
        "interval": [0.1, 0.2],
        "seconds": {"search": 2.5},
        "x": "a",
    }
    assert numbers_of("iteration", record) == {
        "iteration/iteration": 1.0,
        "iteration/by_kind/single": 0.25,
        "iteration/seconds/search": 2.5,
    }
    assert numbers_of("update", {"stage": "warm-up", "loss": 0.5}) == {"warm-up/loss": 0.5}


def test_a_tracker_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="report_to: may hold tensorboard"):
        Recipe.load("debug", ["report_to=[tensorbord]"])
    with pytest.raises(ValueError, match="report_to: no_such_tracker is not installed; pip install no_such_tracker"):
        open_trackers(["no_such_tracker"], tmp_path, {})
