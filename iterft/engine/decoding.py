"""What every way of decoding shares: forks, rows in the making, the draw of a token, and when a row ends.

Shapes: A active rows, V vocabulary, K key/value heads, L prompt length, E head size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch

from iterft.engine.constrained import Matcher, allowed_logits, back_inside, follow
from iterft.engine.head import log_prob_of

Ids = tuple[int, ...]
Item = TypeVar("Item")
Refute = Callable[[Ids], bool]
"""(ids so far): whether to end this row, asked after every token but the stop token."""

KV = list[tuple[torch.Tensor, torch.Tensor]]
"""Per layer the keys and values [K, L, E] of consecutive tokens."""


@dataclass(frozen=True, eq=False)
class Fork:
    """`num_samples` continuations of `prompt + extra`. Row n draws from Philox(seed, n) alone. The KV of `prompt` (of
    two tokens or more) is shared by everything that grows from it. `matcher`, which stands behind `extra`, says which
    tokens may follow; without one, any may."""

    prompt: Ids
    extra: Ids
    num_samples: int
    seed: int
    refute: Refute | None = None
    matcher: Matcher | None = None


@dataclass(frozen=True)
class Decoded:
    """Sampled ids, their log-probs at temperature 1 among all tokens, and whether the stop token or the caller ended
    them."""

    ids: Ids
    logprobs: tuple[float, ...]
    stopped: bool
    refuted: bool


@dataclass(eq=False)
class DecodingRow:
    """A continuation in the making, fed with `forced` first, next token at position `depth`. Once it is live, `kv` of
    its prompt is there, and `grown` of what stands behind it and needs not be fed."""

    fork: Fork
    forced: Ids
    depth: int
    draws: np.ndarray
    matcher: Matcher | None = None
    kv: KV = field(default_factory=list)
    grown: KV = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    refuted: bool = False


@dataclass
class DecodeCounters:
    """Tokens computed for prompts and scoring, tokens of unfinished turns computed again, prompts found in the cache
    and not, tokens sampled."""

    prefilled: int = 0
    refed: int = 0
    hits: int = 0
    misses: int = 0
    sampled: int = 0


def open_rows(fork: Fork, max_new_tokens: int) -> list[DecodingRow]:
    """The rows of a fork: its prompt's last token and what follows the prompt is still to be fed."""
    assert len(fork.prompt) > 1, "a prompt has two tokens or more"
    assert fork.num_samples > 0, "a fork that asks for nothing would never end"
    forced, depth = (fork.prompt[-1], *fork.extra), len(fork.prompt) + len(fork.extra)
    generators = (np.random.Generator(np.random.Philox(key=[fork.seed, n])) for n in range(fork.num_samples))
    return [
        DecodingRow(fork, forced, depth, draws.random(max_new_tokens), fork.matcher and fork.matcher.fork())
        for draws in generators
    ]


def take_next(
    live: Sequence[DecodingRow], logits_AV: torch.Tensor, temperature: float, counters: DecodeCounters
) -> torch.Tensor:
    """The next token of every live row [A], noted in the row with its log-prob at temperature 1.

    Of a row with a grammar only tokens that it lets follow are drawn, by their share among each other. The log-prob is
    all the same that among all tokens: what the policy gives to the token, not how it was drawn."""
    logits_AV = logits_AV.float()
    draws = torch.tensor([row.draws[len(row.ids)] for row in live], device=logits_AV.device)
    allowed_AV = allowed_logits(logits_AV, [row.matcher for row in live])
    tokens_A = choose(allowed_AV, temperature, draws)
    if allowed_AV is not logits_AV:
        tokens_A = back_inside(tokens_A, allowed_AV)
    chosen_A = log_prob_of(logits_AV, tokens_A)
    counters.sampled += len(live)
    for row, token, logprob in zip(live, tokens_A.tolist(), chosen_A.tolist(), strict=True):
        row.ids.append(token)
        row.logprobs.append(logprob)
        if row.matcher is not None:
            follow(row.matcher, token)
    return tokens_A


def choose(logits_AV: torch.Tensor, temperature: float, draws_A: torch.Tensor) -> torch.Tensor:
    """Token ids [A] by inverse transform of one uniform draw a row; the most likely ones at temperature 0."""
    if temperature == 0:
        return logits_AV.argmax(dim=-1)
    cumulative = (logits_AV / temperature).softmax(dim=-1).cumsum(dim=-1)
    picked = torch.searchsorted(cumulative, (draws_A.to(cumulative.dtype)[:, None] * cumulative[:, -1:]))
    return picked.squeeze(-1).clamp(max=logits_AV.shape[-1] - 1)


def is_done(row: DecodingRow, stops: Container[int], max_new_tokens: int) -> bool:
    """Whether the row ends with its last token; notes in the row if that is because it is refuted."""
    if row.ids[-1] in stops:
        return True
    row.refuted = row.fork.refute is not None and row.fork.refute(tuple(row.ids))
    return row.refuted or len(row.ids) == max_new_tokens


def decoded(row: DecodingRow, stops: Container[int]) -> Decoded:
    return Decoded(tuple(row.ids), tuple(row.logprobs), row.ids[-1] in stops, row.refuted)


Stream = Callable[[deque[Fork], float, int], Iterator[tuple[Fork, list[Decoded]]]]


def decode_all(
    stream: Stream,
    forks: Sequence[Fork],
    temperature: float,
    max_new_tokens: int,
    advance: Callable[[int], None] = lambda forks: None,
) -> list[list[Decoded]]:
    """[P][N] continuations of forks that are all known from the start. `advance(k)` is told of every k that are
    done."""
    found: dict[Fork, list[Decoded]] = {}
    for fork, rows in stream(deque(forks), temperature, max_new_tokens):
        found[fork] = rows
        advance(1)
    return [found[fork] for fork in forks]


def pack(
    items: Sequence[Item],
    size: Callable[[Item], int],
    capacity: int,
    added: Callable[[Item, Item], int] | None = None,
) -> list[list[Item]]:
    """Consecutive items in batches of at most `capacity` (a larger single item makes a batch of its own). `added`: what
    the second of two neighbours costs in one batch with the first, where that is not its whole size."""
    batches: list[list[Item]] = []
    filled = 0
    for item in items:
        more = added(batches[-1][-1], item) if added and batches else size(item)
        if not batches or filled + more > capacity:
            batches.append([])
            filled, more = 0, size(item)
        batches[-1].append(item)
        filled += more
    return batches
