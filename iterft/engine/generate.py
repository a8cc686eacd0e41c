"""Batched decoding with forked KV: a prefix is computed once, kept, and shared by everything that grows from it.

Rows that have ended leave the linear layers at once; when half of them have, waiting ones enter or the rest closes up.
Prompts that share their beginning are prefilled together, the shared part once; what a row has written stays as KV, so
that forks from inside of it feed one token. Works for every transformers model that takes its attention function from
`ALL_ATTENTION_FUNCTIONS` and uses full causal attention.

Shapes: P prompts, A active rows, Q new tokens of a row, K key/value heads, L prompt length, T suffix cells, E head
size, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from iterft.engine.decoding import (
    KV,
    DecodeCounters,
    Decoded,
    DecodingRow,
    Fork,
    Ids,
    Item,
    decoded,
    is_done,
    open_rows,
    pack,
    take_next,
)
from iterft.engine.forked_attention import Wave, forked_attention, look
from iterft.engine.head import target_log_probs
from iterft.engine.kept import KeptKv, cut_out
from iterft.engine.own_attention import forward_with
from iterft.engine.prefix_tree import batch_rows, forward_rows, uses_flex
from iterft.engine.trie import build_rows, group_neighbours, shared_length

PREFILL_TOKENS = 4096
"""Prompt tokens prefilled at once, shared ones counted once."""

REFILL = 0.5
"""Waiting rows enter, or room is given up, when at most this part of it is taken: both copy the KV of all rows."""

ROOM = 32
"""Suffix cells for new tokens; when they are filled, as many are added."""


class PrefixDecoder:
    """Decodes from one model; keeps KV of prompts and turns up to `cache_bytes`, which also bounds the KV of the
    prompts that are decoded at a time."""

    def __init__(
        self, model: Any, stop_id: int, cache_bytes: int, max_rows: int, other_stops: Iterable[int] = ()
    ) -> None:
        """Rows end with `stop_id` or one of `other_stops`."""
        self.model = model.eval()
        self.stops = {stop_id, *other_stops}
        self.max_rows = max_rows
        self.counters = DecodeCounters()
        self.kept = KeptKv(cache_bytes)
        self.device = next(model.parameters()).device
        self.token_bytes = token_bytes(model)

    @torch.inference_mode()
    def stream(
        self, forks: deque[Fork], temperature: float, max_new_tokens: int
    ) -> Iterator[tuple[Fork, list[Decoded]]]:
        """Takes forks out of the queue and yields each with its rows once all of them have ended; temperature 0 is
        greedy. The caller may append forks between two results; it ends when there is none left."""
        groups: dict[Fork, list[DecodingRow]] = {}
        going: Counter[Fork] = Counter()
        waiting: deque[DecodingRow] = deque()
        live: list[DecodingRow] = []
        num_opened = 0
        wave: Wave | None = None
        hidden_AD = torch.empty(0)
        while forks or waiting or live:
            arrived = [forks.popleft() for _ in range(len(forks))]
            for index in together([fork.prompt for fork in arrived]):
                fork = arrived[index]
                groups[fork] = open_rows(fork, max_new_tokens)
                going[fork] = fork.num_samples
                waiting.extend(groups[fork])
            if waiting and len(live) <= REFILL * num_opened:
                fresh = self.admit(live, waiting)
                wave = wave if live else None  # two are never held whole
                wave, hidden_fresh = self.open_wave(wave, live, fresh)
                live = live + fresh
                num_opened = len(live)
                hidden_AD = torch.cat([hidden_AD, hidden_fresh]) if len(live) > len(fresh) else hidden_fresh
            assert wave is not None, "rows are live only inside a wave"
            logits_AV = self.model.get_output_embeddings()(hidden_AD)
            tokens_A = take_next(live, logits_AV, temperature, self.counters)
            going_on = [not is_done(row, self.stops, max_new_tokens) for row in live]
            ended = [at for at, goes_on in enumerate(going_on) if not goes_on]
            self.keep_written(wave, live, ended)
            going.subtract(live[at].fork for at in ended)
            done = [fork for fork in dict.fromkeys(live[at].fork for at in ended) if going[fork] == 0]
            live = [row for row, goes_on in zip(live, going_on, strict=True) if goes_on]
            yield from [(fork, [decoded(row, self.stops) for row in groups.pop(fork)]) for fork in done]
            if live:
                stays = np.array(going_on)
                wave.rows = wave.rows[stays]
                is_roomy = not (waiting or forks) and len(live) <= REFILL * len(wave.owners)
                if is_roomy or wave.start == wave.suffix_real.shape[1]:
                    wave = self.make_room(wave, live, [])
                positions = torch.tensor([row.depth for row in live], device=self.device)
                hidden_AD = self.feed(wave, tokens_A[torch.from_numpy(stays)][:, None], positions[:, None])[:, -1]
                for row in live:
                    row.depth += 1

    def admit(self, live: Sequence[DecodingRow], waiting: deque[DecodingRow]) -> list[DecodingRow]:
        """Takes those out of `waiting` that enter beside the live rows: at least one, at most up to `max_rows` rows and
        to prompts whose KV, padded to the longest of them, fills as much as may be kept."""
        capacity = self.kept.max_bytes // self.token_bytes
        prompts = {row.fork.prompt for row in live}
        longest = max(map(len, prompts), default=0)
        fresh: list[DecodingRow] = []
        while waiting and (not fresh or len(live) + len(fresh) < self.max_rows):
            prompt = waiting[0].fork.prompt
            longest = max(longest, len(prompt))
            if fresh and (len(prompts) + (prompt not in prompts)) * longest > capacity:
                break
            prompts.add(prompt)
            fresh.append(waiting.popleft())
        return fresh

    @torch.inference_mode()
    def logprob(self, prompts: Sequence[Ids], continuations: Sequence[Ids]) -> list[list[float]]:
        """[P] lists: log-prob of each continuation token given its prompt and the tokens before it. Keeps the prompts'
        KV."""
        results: list[list[float]] = [[] for _ in prompts]
        sequences = [(*prompt, *turn) for prompt, turn in zip(prompts, continuations, strict=True)]
        for chosen in pack(
            together(sequences),
            lambda index: len(sequences[index]),
            PREFILL_TOKENS,
            lambda last, index: num_added(sequences[last], sequences[index]),
        ):
            parts = self.prefill(
                [sequences[index][:-1] for index in chosen], [len(prompts[index]) - 1 for index in chosen]
            )
            targets = torch.tensor([token for index in chosen for token in continuations[index]], device=self.device)
            hidden = torch.cat([hidden_TD for _, hidden_TD in parts])
            scores = target_log_probs(hidden, self.model.get_output_embeddings(), targets)
            sizes = [len(continuations[index]) for index in chosen]
            for index, (kv, _), part in zip(chosen, parts, torch.split(scores, sizes), strict=True):
                results[index] = part.tolist()
                self.kept.keep(prompts[index], kv)
        return results

    def forget(self) -> None:
        """Drops all kept KV."""
        self.kept.clear()

    def open_wave(
        self, old: Wave | None, live: Sequence[DecodingRow], fresh: Sequence[DecodingRow]
    ) -> tuple[Wave, torch.Tensor]:
        """A wave in which the live rows of `old` go on, then the fresh ones, which have been fed what they are forced
        to; and the fresh ones' hidden states [fresh, D]."""
        wave = self.make_room(old, live, fresh)
        everyone, start = wave.rows, wave.start
        hidden: list[torch.Tensor] = []
        batches = feeding_order(fresh)
        for chosen in batches:
            wave.rows = len(live) + np.array(chosen)
            width = len(fresh[chosen[-1]].forced)
            wave.start = start - width
            hidden.append(self.feed_forced(wave, [fresh[at] for at in chosen], width))
        wave.rows = everyone
        for row in fresh:
            row.grown = []  # its wave has it now
        return wave, torch.cat(hidden)[np.argsort(list(chain.from_iterable(batches)))]

    def make_room(self, old: Wave | None, live: Sequence[DecodingRow], fresh: Sequence[DecodingRow]) -> Wave:
        """Suffix cells of all rows end at the same column, `start`; to the left of what a row has, they are not real.
        The returned wave stands where the fresh rows' forced tokens end."""
        for row, kv in zip(fresh, self.prefix_kv([row.fork.prompt for row in fresh]), strict=True):
            row.kv = kv
            self.find_written(row)
        rows = [*live, *fresh]
        kept = {row.fork.prompt: row.kv for row in rows}
        number = {prompt: at for at, prompt in enumerate(kept)}
        num_layers, sample = len(rows[0].kv), rows[0].kv[0][0]
        lengths = torch.tensor([len(prompt) - 1 for prompt in kept], device=self.device)
        used, start, suffix_real = lay_out(old, fresh, self.device)

        def move(cells_before: list[torch.Tensor], layer: int, side: int) -> torch.Tensor:
            cells = sample.new_zeros(len(rows), sample.shape[0], suffix_real.shape[1], sample.shape[2])
            if old is not None and used:
                before = cells_before[layer][old.rows, :, old.start - used : old.start]
                cells[: len(live), :, start - used : start] = before
                cells_before[layer] = sample.new_empty(0)  # one layer at a time: both waves are never held whole
            for at, row in enumerate(fresh, len(live)):
                if row.grown:
                    cells[at, :, start - num_suffix(row) : start - len(row.forced)] = row.grown[layer][side]
            return cells

        keys, values = (
            [pad_stack([kv[layer][side] for kv in kept.values()], int(lengths.max())) for layer in range(num_layers)]
            for side in (0, 1)
        )
        return Wave(
            prefix_keys=keys,
            prefix_values=values,
            prefix_hidden=(torch.arange(int(lengths.max()), device=self.device) >= lengths[:, None])[:, None, None],
            suffix_keys=[move(old.suffix_keys if old else [], layer, 0) for layer in range(num_layers)],
            suffix_values=[move(old.suffix_values if old else [], layer, 1) for layer in range(num_layers)],
            suffix_real=suffix_real,
            owners=np.array([number[row.fork.prompt] for row in rows]),
            rows=np.arange(len(rows)),
            start=start,
        )

    def feed_forced(self, wave: Wave, rows: Sequence[DecodingRow], width: int) -> torch.Tensor:
        """Hidden states [A, D] of the rows' last forced tokens; these are padded on the left to `width`."""
        tokens = torch.tensor([[0] * (width - len(row.forced)) + list(row.forced) for row in rows], device=self.device)
        depths_A = np.array([row.depth for row in rows])
        positions = torch.from_numpy(depths_A[:, None] - width + np.arange(width)[None, :]).to(self.device)
        return self.feed(wave, tokens, positions.clamp(min=0))[:, -1]

    def feed(self, wave: Wave, tokens_AQ: torch.Tensor, positions_AQ: torch.Tensor) -> torch.Tensor:
        """One forward of the active rows; hidden states [A, Q, D]."""
        view = look(wave, tokens_AQ.shape[1])
        hidden = forward_with(forked_attention, self.model.base_model, tokens_AQ, positions_AQ, wave=wave, view=view)
        wave.start += tokens_AQ.shape[1]
        return hidden

    def prefix_kv(self, prompts: list[Ids]) -> list[KV]:
        """Per prompt the KV of all tokens but the last, computed where not kept."""
        missing = sorted({prompt for prompt in prompts if prompt not in self.kept})
        self.counters.hits += len(prompts) - len(missing)
        self.counters.misses += len(missing)
        found = {prompt: self.kept.of_prompt(prompt) for prompt in prompts if prompt in self.kept}
        for batch in pack(missing, len, PREFILL_TOKENS, num_added):
            lengths = [len(prompt) - 1 for prompt in batch]
            parts = self.prefill([prompt[:-1] for prompt in batch], lengths)
            found.update((prompt, kv) for prompt, (kv, _) in zip(batch, parts, strict=True))
        for prompt in prompts:
            self.kept.keep(prompt, found[prompt])
        return [found[prompt] for prompt in prompts]

    def find_written(self, row: DecodingRow) -> None:
        """Gives a row that starts inside a turn the KV that is kept of it; the others of its tokens, the last at least,
        are still to be fed."""
        if not row.fork.extra:
            return
        num_found, row.grown = self.kept.behind(row.fork.prompt, row.forced)
        row.forced = row.forced[num_found:]
        self.counters.refed += len(row.forced) - 1

    def keep_written(self, wave: Wave, live: Sequence[DecodingRow], ended: Sequence[int]) -> None:
        """Keeps what those of the live rows have written that have ended, and lets go of their prompts' KV."""
        for at in ended:
            row = live[at]
            ids = (row.fork.prompt[-1], *row.fork.extra, *row.ids[:-1])
            if self.kept.lacks(row.fork.prompt, ids):
                start = wave.start - len(ids)
                kv = cut_out(wave.suffix_keys, wave.suffix_values, wave.rows[at], start, wave.start)
                self.kept.enter(row.fork.prompt, ids, kv)
            row.kv = []

    def prefill(self, sequences: list[Ids], lengths: Sequence[int]) -> list[tuple[KV, torch.Tensor]]:
        """Per sequence the KV of its first `lengths[i]` tokens and the hidden states [T, D] of the others; what they
        share is computed once."""
        results: dict[int, tuple[KV, torch.Tensor]] = {}
        for rows in batch_rows(build_rows(sequences), is_packed=uses_flex(self.model.base_model)):
            self.counters.prefilled += sum(len(row.ids) for row in rows)
            cache = DynamicCache()
            hidden_RUD = forward_rows(self.model.base_model, rows, cache)
            for at, row in enumerate(rows):
                for member, path in zip(row.members, row.paths, strict=True):
                    path_T = torch.from_numpy(path).to(self.device)
                    cells, others = path_T[: lengths[member]], path_T[lengths[member] :]
                    kv = [(layer.keys[at][:, cells], layer.values[at][:, cells]) for layer in cache.layers]
                    results[member] = kv, hidden_RUD[at, others]
        return [results[member] for member in range(len(sequences))]


def num_added(last: Ids, ids: Ids) -> int:
    """Tokens that a sequence costs in one forward with its neighbour."""
    return len(ids) - shared_length(np.asarray(last), np.asarray(ids))


def together(prompts: Sequence[Ids]) -> list[int]:
    """An order of prompts in which those that share their beginning are neighbours, so that a wave computes it once,
    and such groups go by length, so that a wave is padded little."""
    order = sorted(range(len(prompts)), key=lambda index: prompts[index])
    groups = [[order[at] for at in group] for group in group_neighbours([prompts[index] for index in order])]
    groups.sort(key=lambda group: max(len(prompts[index]) for index in group))
    return [index for group in groups for index in group]


def lay_out(old: Wave | None, fresh: Sequence[DecodingRow], device: torch.device) -> tuple[int, int, torch.Tensor]:
    """Of a wave of the rows of `old` and then the fresh ones: suffix columns that the former use, the column at which
    what a row has ends, the same for all, and which cells are real. Room for some new tokens follows."""
    real = old.suffix_real[old.rows, : old.start] if old else torch.zeros(0, 0, dtype=torch.bool, device=device)
    in_use = real.any(dim=0).nonzero().flatten().tolist()
    used = real.shape[1] - in_use[0] if in_use else 0
    start = max([used, *map(num_suffix, fresh)])
    cells = torch.ones(len(real) + len(fresh), start + ROOM, dtype=torch.bool, device=device)
    cells[: len(real), : start - used] = False
    cells[: len(real), start - used : start] = real[:, real.shape[1] - used :]
    for at, row in enumerate(fresh, len(real)):
        cells[at, : start - num_suffix(row)] = False
    return used, start, cells


def num_suffix(row: DecodingRow) -> int:
    """Suffix cells that a row takes when it enters."""
    return len(row.forced) + (row.grown[0][0].shape[1] if row.grown else 0)


def feeding_order(fresh: Sequence[DecodingRow]) -> list[list[int]]:
    """Rows in batches that are fed their forced tokens together, padded on the left to the longest, which is the last.
    Where a row has KV already, padding would overwrite it: those go by equal length."""
    order = sorted(range(len(fresh)), key=lambda at: len(fresh[at].forced))
    plain = [at for at in order if not fresh[at].grown]
    grown = [at for at in order if fresh[at].grown]
    equal = groupby(grown, lambda at: len(fresh[at].forced))
    return [*of_like_length(plain, lambda at: len(fresh[at].forced)), *(list(batch) for _, batch in equal)]


def of_like_length(items: Sequence[Item], length: Callable[[Item], int]) -> list[list[Item]]:
    """Items, the short ones first, in batches in which padding to the longest costs each at most a quarter."""
    batches: list[list[Item]] = []
    for item in items:
        if not batches or length(batches[-1][0]) < 0.75 * length(item) - 1:
            batches.append([])
        batches[-1].append(item)
    return batches


def pad_stack(parts: list[torch.Tensor], length: int) -> torch.Tensor:
    """[K, L_i, E] tensors as one [P, K, length, E], zeros behind."""
    stacked = parts[0].new_zeros(len(parts), parts[0].shape[0], length, parts[0].shape[2])
    for row, part in enumerate(parts):
        stacked[row, :, : part.shape[1]] = part
    return stacked


def token_bytes(model: Any) -> int:
    """Bytes of the keys and values of one token."""
    config = model.config.get_text_config()
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    num_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    cells = 2 * config.num_hidden_layers * num_heads * head_size
    return int(cells * next(model.parameters()).element_size())
