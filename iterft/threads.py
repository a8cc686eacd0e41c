"""Work that mostly waits, for a server say, done side by side in threads. Not for work that computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    items: Sequence[Item],
    work: Callable[[Item], Result],
    num_threads: int,
    finished: Callable[[int, Result], None],
) -> list[Result]:
    """`[work(item) for item in items]`, up to `num_threads` at a time.

    `finished(index, result)` is called in the calling thread for each item as it is done. The first exception, or an
    interrupt, is raised here at once: items not begun are left, those under way end unheard."""
    pool = ThreadPoolExecutor(num_threads)
    try:
        places = {pool.submit(work, item): index for index, item in enumerate(items)}
        for done in as_completed(places):
            finished(places[done], done.result())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return [done.result() for done in places]
