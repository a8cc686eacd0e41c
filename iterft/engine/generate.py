"""Batched decoding with forked KV: a prefix is computed once, kept, and shared by everything that grows from it.

Rows that have ended leave the linear layers at once; when half of them have, waiting ones enter. Prompts that share
their beginning are prefilled together, the shared part once. Works for every transformers model that takes its
attention function from `ALL_ATTENTION_FUNCTIONS` and uses full causal attention.

Shapes: P prompts, A active rows, Q new tokens of a row, K key/value heads, L prompt length, T suffix cells, E head
size, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from transformers import DynamicCache

from iterft.engine.forked_attention import Wave, forked_attention
from iterft.engine.head import token_scores
from iterft.engine.own_attention import forward_with
from iterft.engine.prefix_tree import batch_rows, build_rows, forward_rows, group_neighbours

Ids = tuple[int, ...]
Item = TypeVar("Item")
KV = list[tuple[torch.Tensor, torch.Tensor]]
"""Per layer the keys and values [K, L, E] of a prompt."""

PREFILL_TOKENS = 4096
"""Prompt tokens prefilled at once, shared ones counted every time."""

REFILL = 0.5
"""Waiting rows enter when at most this part of the room is taken: each entry copies the KV of all rows once."""


@dataclass(frozen=True)
class Request:
    """`num_samples` continuations of `prompt + extra`; only `prompt` (never empty) is kept as KV."""

    prompt: Ids
    extra: Ids
    num_samples: int
    seed: int


@dataclass(frozen=True)
class Decoded:
    """Sampled ids, their log-probs at temperature 1, and whether the stop token or the caller ended them."""

    ids: Ids
    logprobs: tuple[float, ...]
    stopped: bool
    refuted: bool


@dataclass(eq=False)
class DecodingRow:
    """A continuation in the making: of request `request`, fed with `forced` first, next token at position `depth`.
    `kv` of its prompt is there once it is live."""

    request: int
    prompt: Ids
    forced: Ids
    depth: int
    draws: np.ndarray
    kv: KV = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    refuted: bool = False


@dataclass
class DecodeCounters:
    """Tokens computed for prefixes, prefixes found in the cache, tokens sampled."""

    prefilled: int = 0
    hits: int = 0
    misses: int = 0
    sampled: int = 0


class PrefixDecoder:
    """Decodes from one model; holds the KV of prompts seen, least recently used out first above `cache_bytes`."""

    def __init__(self, model: Any, stop_id: int, cache_bytes: int, max_rows: int) -> None:
        self.model = model.eval()
        self.stop_id = stop_id
        self.cache_bytes = cache_bytes
        self.max_rows = max_rows
        self.counters = DecodeCounters()
        self.kept: OrderedDict[Ids, KV] = OrderedDict()
        self.kept_bytes = 0
        self.device = next(model.parameters()).device

    @torch.inference_mode()
    def decode(
        self,
        requests: Sequence[Request],
        temperature: float,
        max_new_tokens: int,
        advance: Callable[[int], None] = lambda requests: None,
        refute: Callable[[int, Ids], bool] | None = None,
    ) -> list[list[Decoded]]:
        """[P][N] continuations. Row n of a request draws from Philox(seed, n) alone. Temperature 0 is greedy.
        `advance(k)` is told of every k requests that are done; `refute(p, ids)` may end a row of request p after any
        token but the stop token."""
        rows = [open_rows(index, request, max_new_tokens) for index, request in enumerate(requests)]
        waiting = deque(row for index in together([request.prompt for request in requests]) for row in rows[index])
        going = Counter(row.request for row in waiting)
        live: list[DecodingRow] = []
        wave: Wave | None = None
        hidden_AD = torch.empty(0)
        while waiting or live:
            if waiting and len(live) <= REFILL * self.max_rows:
                fresh = [waiting.popleft() for _ in range(min(len(waiting), max(1, self.max_rows - len(live))))]
                wave, hidden_fresh = self.open_wave(wave, live, fresh, max_new_tokens)
                live = live + fresh
                hidden_AD = torch.cat([hidden_AD, hidden_fresh]) if len(live) > len(fresh) else hidden_fresh
            assert wave is not None, "rows are live only inside a wave"
            tokens_A = self.sample_next(live, hidden_AD, temperature)
            going_on = [not self.is_done(row, max_new_tokens, refute) for row in live]
            ended = Counter(row.request for row, goes_on in zip(live, going_on, strict=True) if not goes_on)
            going.subtract(ended)
            if num_done := sum(going[request] == 0 for request in ended):
                advance(num_done)
            live = [row for row, goes_on in zip(live, going_on, strict=True) if goes_on]
            if live:
                stays = torch.tensor(going_on, device=self.device)
                wave.rows, wave.slots = wave.rows[stays], wave.slots[stays]
                positions = torch.tensor([row.depth for row in live], device=self.device)
                hidden_AD = self.feed(wave, tokens_A[stays][:, None], positions[:, None])[:, -1]
                for row in live:
                    row.depth += 1
        return [
            [Decoded(tuple(row.ids), tuple(row.logprobs), row.ids[-1] == self.stop_id, row.refuted) for row in group]
            for group in rows
        ]

    def is_done(self, row: DecodingRow, max_new_tokens: int, refute: Callable[[int, Ids], bool] | None) -> bool:
        if row.ids[-1] == self.stop_id:
            return True
        row.refuted = refute is not None and refute(row.request, tuple(row.ids))
        return row.refuted or len(row.ids) == max_new_tokens

    def sample_next(self, live: Sequence[DecodingRow], hidden_AD: torch.Tensor, temperature: float) -> torch.Tensor:
        """The next token of every live row [A], noted in the row with its log-prob at temperature 1."""
        logits_AV = self.model.get_output_embeddings()(hidden_AD).float()
        draws = torch.tensor([row.draws[len(row.ids)] for row in live], device=self.device)
        tokens_A = choose(logits_AV, temperature, draws)
        chosen_A = logits_AV.gather(-1, tokens_A[:, None]).squeeze(-1) - logits_AV.logsumexp(dim=-1)
        self.counters.sampled += len(live)
        for row, token, logprob in zip(live, tokens_A.tolist(), chosen_A.tolist(), strict=True):
            row.ids.append(token)
            row.logprobs.append(logprob)
        return tokens_A

    @torch.inference_mode()
    def logprob(self, prompts: Sequence[Ids], continuations: Sequence[Ids]) -> list[list[float]]:
        """[P] lists: log-prob of each continuation token given its prompt and the tokens before it."""
        results: list[list[float]] = [[] for _ in prompts]
        for chosen in pack(together(prompts), lambda index: 1, self.max_rows):
            rows = [
                open_rows(index, Request(prompts[index], continuations[index][:-1], 1, 0), 0)[0] for index in chosen
            ]
            wave = self.make_room(None, [], rows, 0)
            hidden_AQD = self.feed_forced(wave, rows)
            sizes = [len(continuations[index]) for index in chosen]
            picked = torch.cat([hidden_AQD[row, -size:] for row, size in enumerate(sizes)])
            targets = torch.tensor([token for index in chosen for token in continuations[index]], device=self.device)
            scores = token_scores(picked, self.model.get_output_embeddings(), targets).log_probs
            for index, part in zip(chosen, torch.split(scores, sizes), strict=True):
                results[index] = part.tolist()
        return results

    def forget(self) -> None:
        """Drops all kept KV."""
        self.kept.clear()
        self.kept_bytes = 0

    def open_wave(
        self, old: Wave | None, live: Sequence[DecodingRow], fresh: Sequence[DecodingRow], max_new_tokens: int
    ) -> tuple[Wave, torch.Tensor]:
        """A wave in which the live rows of `old` go on, then the fresh ones, which have been fed what they are forced
        to; and the fresh ones' hidden states [fresh, D]."""
        wave = self.make_room(old, live, fresh, max_new_tokens)
        everyone = wave.rows, wave.slots
        wave.rows, wave.slots = wave.rows[len(live) :], wave.slots[len(live) :]
        hidden_AD = self.feed_forced(wave, fresh)[:, -1]
        wave.rows, wave.slots = everyone
        return wave, hidden_AD

    def make_room(
        self, old: Wave | None, live: Sequence[DecodingRow], fresh: Sequence[DecodingRow], max_new_tokens: int
    ) -> Wave:
        """Suffix cells of all rows end at the same column, `start`; to the left of what a row has, they are not real.
        The returned wave stands where the fresh rows' forced tokens begin."""
        for row, kv in zip(fresh, self.prefix_kv([row.prompt for row in fresh]), strict=True):
            row.kv = kv
        rows = [*live, *fresh]
        kept = {row.prompt: row.kv for row in rows}
        num_layers, sample = len(rows[0].kv), rows[0].kv[0][0]
        lengths = torch.tensor([len(prompt) - 1 for prompt in kept], device=self.device)
        width = max(len(row.forced) for row in fresh)
        used, suffix_real = lay_out(old if live else None, fresh, width, max_new_tokens, self.device)
        start = max(used, width)

        def move(side: list[torch.Tensor], layer: int) -> torch.Tensor:
            cells = sample.new_zeros(len(rows), sample.shape[0], suffix_real.shape[1], sample.shape[2])
            if old is not None and used:
                cells[: len(live), :, start - used : start] = side[layer][old.rows, :, old.start - used : old.start]
                side[layer] = sample.new_empty(0)  # one layer at a time, so that both waves are never held whole
            return cells

        keys, values = (
            [pad_stack([kv[layer][side] for kv in kept.values()], int(lengths.max())) for layer in range(num_layers)]
            for side in (0, 1)
        )
        slots, num_per_prefix = grid_slots([row.prompt for row in rows])
        return Wave(
            prefix_keys=keys,
            prefix_values=values,
            prefix_mask=torch.arange(int(lengths.max()), device=self.device)[None, :] < lengths[:, None],
            suffix_keys=[move(old.suffix_keys if old else [], layer) for layer in range(num_layers)],
            suffix_values=[move(old.suffix_values if old else [], layer) for layer in range(num_layers)],
            suffix_real=suffix_real,
            rows=torch.arange(len(rows), device=self.device),
            slots=torch.tensor(slots, device=self.device),
            num_per_prefix=num_per_prefix,
            suffix_mask=suffix_real[:, None],
            start=start - width,
        )

    def feed_forced(self, wave: Wave, rows: Sequence[DecodingRow]) -> torch.Tensor:
        """Hidden states [A, Q, D] of the rows' forced tokens, padded on the left."""
        width = max(len(row.forced) for row in rows)
        tokens = torch.tensor([[0] * (width - len(row.forced)) + list(row.forced) for row in rows], device=self.device)
        depths_A = np.array([row.depth for row in rows])
        positions = torch.from_numpy(depths_A[:, None] - width + np.arange(width)[None, :]).to(self.device)
        return self.feed(wave, tokens, positions.clamp(min=0))

    def feed(self, wave: Wave, tokens_AQ: torch.Tensor, positions_AQ: torch.Tensor) -> torch.Tensor:
        """One forward of the active rows; hidden states [A, Q, D]."""
        new = tokens_AQ.shape[1]
        stop = wave.start + new
        causal = (
            torch.arange(stop, device=self.device)[None, :]
            <= wave.start + torch.arange(new, device=self.device)[:, None]
        )
        wave.suffix_mask = wave.suffix_real[wave.rows][:, None, :stop] & causal
        hidden = forward_with(forked_attention, self.model.base_model, tokens_AQ, positions_AQ, wave=wave)
        wave.start = stop
        return hidden

    def prefix_kv(self, prompts: list[Ids]) -> list[KV]:
        """Per prompt the KV of all tokens but the last, computed where not kept."""
        missing = sorted({prompt for prompt in prompts if prompt not in self.kept})
        self.counters.hits += len(prompts) - len(missing)
        self.counters.misses += len(missing)
        found = {prompt: self.kept[prompt] for prompt in prompts if prompt in self.kept}
        for batch in pack(missing, lambda prompt: len(prompt), PREFILL_TOKENS):
            found.update(zip(batch, self.prefill(batch), strict=True))
        for prompt in prompts:
            if prompt not in self.kept:
                self.kept[prompt] = found[prompt]
                self.kept_bytes += num_bytes(found[prompt])
            self.kept.move_to_end(prompt)
        while self.kept_bytes > self.cache_bytes and len(self.kept) > 0:
            self.kept_bytes -= num_bytes(self.kept.popitem(last=False)[1])
        return [found[prompt] for prompt in prompts]

    def prefill(self, prompts: list[Ids]) -> list[KV]:
        """Computes what the prompts share once."""
        results: list[KV] = [[] for _ in prompts]
        for rows in batch_rows(build_rows([prompt[:-1] for prompt in prompts])):
            self.counters.prefilled += sum(len(row.ids) for row in rows)
            cache = DynamicCache()
            forward_rows(self.model.base_model, rows, cache)
            for at, row in enumerate(rows):
                for member, path in zip(row.members, row.paths, strict=True):
                    cells = torch.from_numpy(path).to(self.device)
                    results[member] = [(layer.keys[at][:, cells], layer.values[at][:, cells]) for layer in cache.layers]
        return results


def together(prompts: Sequence[Ids]) -> list[int]:
    """An order of prompts in which those that share their beginning are neighbours, so that a wave computes it once,
    and such groups go by length, so that a wave is padded little."""
    order = sorted(range(len(prompts)), key=lambda index: prompts[index])
    groups = [[order[at] for at in group] for group in group_neighbours([prompts[index] for index in order])]
    groups.sort(key=lambda group: max(len(prompts[index]) for index in group))
    return [index for group in groups for index in group]


def open_rows(index: int, request: Request, max_new_tokens: int) -> list[DecodingRow]:
    """The rows of a request: its prompt's last token and what follows the prompt is still to be fed."""
    forced, depth = (request.prompt[-1], *request.extra), len(request.prompt) + len(request.extra)
    generators = (np.random.Generator(np.random.Philox(key=[request.seed, n])) for n in range(request.num_samples))
    return [DecodingRow(index, request.prompt, forced, depth, draws.random(max_new_tokens)) for draws in generators]


def lay_out(
    old: Wave | None, fresh: Sequence[DecodingRow], width: int, max_new_tokens: int, device: torch.device
) -> tuple[int, torch.Tensor]:
    """Suffix columns that the rows of `old` use, and which cells are real in a wave of them and then the fresh rows,
    `width` the longest forced part: what a row has ends at the same column for all, room for new tokens follows."""
    real = old.suffix_real[old.rows, : old.start] if old else torch.zeros(0, 0, dtype=torch.bool, device=device)
    in_use = real.any(dim=0).nonzero().flatten().tolist()
    used = real.shape[1] - in_use[0] if in_use else 0
    start = max(used, width)
    cells = torch.ones(len(real) + len(fresh), start + max_new_tokens, dtype=torch.bool, device=device)
    cells[: len(real), : start - used] = False
    cells[: len(real), start - used : start] = real[:, real.shape[1] - used :]
    for at, row in enumerate(fresh, len(real)):
        cells[at, : start - len(row.forced)] = False
    return used, cells


def grid_slots(prompts: Sequence[Ids]) -> tuple[list[int], int]:
    """Of rows with these prompts the cells p * N + n, prompts numbered as they first appear, and N."""
    places: dict[Ids, int] = {}
    number: Counter[Ids] = Counter()
    cells = []
    for prompt in prompts:
        cells.append((places.setdefault(prompt, len(places)), number[prompt]))
        number[prompt] += 1
    num_per_prefix = max(number.values())
    return [p * num_per_prefix + n for p, n in cells], num_per_prefix


def pack(items: Sequence[Item], size: Callable[[Item], int], capacity: int) -> list[list[Item]]:
    """Consecutive items in batches of at most `capacity` (a larger single item makes a batch of its own)."""
    batches: list[list[Item]] = []
    filled = capacity
    for item in items:
        if filled + size(item) > capacity:
            batches.append([])
            filled = 0
        batches[-1].append(item)
        filled += size(item)
    return batches


def choose(logits_AV: torch.Tensor, temperature: float, draws_A: torch.Tensor) -> torch.Tensor:
    """Token ids [A] by inverse transform of one uniform draw a row; the most likely ones at temperature 0."""
    if temperature == 0:
        return logits_AV.argmax(dim=-1)
    cumulative = (logits_AV / temperature).softmax(dim=-1).cumsum(dim=-1)
    picked = torch.searchsorted(cumulative, (draws_A.to(cumulative.dtype)[:, None] * cumulative[:, -1:]))
    return picked.squeeze(-1).clamp(max=logits_AV.shape[-1] - 1)


def pad_stack(parts: list[torch.Tensor], length: int) -> torch.Tensor:
    """[K, L_i, E] tensors as one [P, K, length, E], zeros behind."""
    stacked = parts[0].new_zeros(len(parts), parts[0].shape[0], length, parts[0].shape[2])
    for row, part in enumerate(parts):
        stacked[row, :, : part.shape[1]] = part
    return stacked


def num_bytes(layers: list[tuple[torch.Tensor, torch.Tensor]]) -> int:
    return sum(tensor.numel() * tensor.element_size() for pair in layers for tensor in pair)
