"""All requests of a policy at once: `Policy.sample` by way of its `stream`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from iterft.types import Completion, Request

Stream = Callable[[deque[Request], float], Iterator[tuple[Request, list[Completion]]]]


def at_once(
    stream: Stream,
    prefixes: Sequence[Sequence[int]],
    num_samples: Sequence[int],
    temperature: float,
    seeds: Sequence[int],
    advance: Callable[[int], None],
    refute: Callable[[int, Sequence[int]], bool] | None,
) -> list[list[Completion]]:
    """See `protocols.Policy.sample`."""
    requests = [
        Request(tuple(prefix), count, seed, None if refute is None else partial(refute, index))
        for index, (prefix, count, seed) in enumerate(zip(prefixes, num_samples, seeds, strict=True))
    ]
    found: dict[Request, list[Completion]] = {}
    for request, completions in stream(deque(requests), temperature):
        found[request] = completions
        advance(1)
    return [found[request] for request in requests]
