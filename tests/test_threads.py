"""Work side by side: results in order, at most so many at a time, and an end as soon as one piece fails."""

from __future__ import annotations

import threading
import time

import pytest

from iterft.threads import side_by_side


def test_results_keep_the_order_and_each_is_told_of_as_it_is_done() -> None:
    told: list[tuple[int, int]] = []
    squares = side_by_side(range(20), lambda number: number**2, 3, lambda *done: told.append(done))
    assert squares == [number**2 for number in range(20)]
    assert sorted(told) == list(enumerate(squares))


def test_nothing_to_do_is_done() -> None:
    assert side_by_side([], lambda item: item, 4, lambda *done: None) == []


def test_after_a_failure_nothing_more_is_begun() -> None:
    begun: list[int] = []
    ended = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 2:
            raise ValueError("the third")
        ended.wait(10 if number < 2 else 0.05)

    with pytest.raises(ValueError, match="the third"):
        side_by_side(range(100), work, 3, lambda *done: None)
    num_begun = len(begun)
    ended.set()
    time.sleep(0.3)
    assert len(begun) == num_begun < 100


def test_a_failure_in_what_is_told_of_is_raised_too() -> None:
    def finished(index: int, result: int) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        side_by_side(range(3), lambda number: number, 1, finished)
