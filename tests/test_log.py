"""The log: metrics of several starts follow each other, whatever a kill has left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iterft.log import Log


def log_of(path: Path) -> Log:
    log = Log(path, quiet=True)
    log.take_up()
    return log


def test_metrics_of_a_second_start_follow_those_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    numbers: list[int] = []
    for start in range(2):
        log = log_of(path)
        log.track = lambda event, values, number: numbers.append(number)
        log.metric("update", loss=0.5 + start)
        log.metric("update", loss=0.25 + start)
    assert [json.loads(line)["loss"] for line in path.read_text().splitlines()] == [0.5, 0.25, 1.5, 1.25]
    assert numbers == [0, 1, 2, 3]


def test_a_line_that_a_kill_tore_is_dropped_and_the_next_begins_a_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log_of(path).metric("warm-up", loss=1.0)
    path.write_text(path.read_text() + '{"event": "upd')
    log_of(path).metric("update", loss=0.5)
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["warm-up", "update"]


def test_a_log_without_a_file_keeps_nothing(tmp_path: Path) -> None:
    log = Log(quiet=True)
    log.take_up()
    log.metric("update", loss=0.5)
    assert log.num_metrics == 1 and list(tmp_path.iterdir()) == []


def test_without_a_terminal_progress_is_said_each_tenth_and_each_minute_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("iterft.log.time.perf_counter", lambda: now[0])
    with Log().progress("warm-up", 40, done=8) as advance:
        for seconds in (30, 30, 5, 5, 5):
            now[0] += seconds
            advance()
        now[0] += 60
        advance(26)
    assert [line.partition("] ")[2].strip() for line in capsys.readouterr().out.splitlines()] == [
        "warm-up: 10/40, 15 min left",  # a minute, two steps
        "warm-up: 12/40, 8 min left",  # a tenth of the way
        "warm-up: 39/40",
    ]
