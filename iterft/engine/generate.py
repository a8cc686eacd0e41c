"""Batched decoding with forked KV: a prefix is computed once, kept, and shared by everything that grows from it.

Attention of a new token = attention over its prefix's KV (one copy for all rows that share it, no copy per head group)
and over its own suffix. Rows that have ended leave the linear layers at once. Works for every transformers model that
takes its attention function from `ALL_ATTENTION_FUNCTIONS` and uses full causal attention.

Shapes: P prefixes, L prefix length (padded), A active rows, N rows of a prefix (padded), Q new tokens of a row,
T suffix capacity, H query heads, K key/value heads, G = H / K, E head size.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from transformers import DynamicCache

from iterft.engine.head import token_scores
from iterft.engine.own_attention import forward_with

Ids = tuple[int, ...]
Item = TypeVar("Item")
PREFILL_TOKENS = 4096
"""Padded tokens computed at once during prefill."""


@dataclass
class Wave:
    """What the attention function needs to know of the rows in flight; one object, updated between forwards.

    prefix_keys, prefix_values   per layer [P, K, L, E]
    prefix_mask                  [P, L], True where a key is real
    suffix_keys, suffix_values   per layer [rows opened, K, T, E], written in place
    suffix_real                  [rows opened, T], False for the padding left of a row's forced tokens
    rows, slots                  [A]: which opened rows are active; their cell p * N + n of the [P, N] grid
    suffix_mask                  [A, Q, stop]: where the new tokens of the coming forward may look
    start                        suffix cells filled so far, the same for all rows
    """

    prefix_keys: list[torch.Tensor]
    prefix_values: list[torch.Tensor]
    prefix_mask: torch.Tensor
    suffix_keys: list[torch.Tensor]
    suffix_values: list[torch.Tensor]
    suffix_real: torch.Tensor
    rows: torch.Tensor
    slots: torch.Tensor
    num_per_prefix: int
    suffix_mask: torch.Tensor
    start: int = 0


def forked_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    scaling: float,
    dropout: float = 0.0,
    wave: Wave | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function in transformers' form: query [A,H,Q,E], key and value [A,K,Q,E] -> [A,Q,H,E]."""
    assert wave is not None, "forked attention runs only inside a wave"
    layer = module.layer_idx
    rows, heads, new, size = query.shape
    kv_heads = key.shape[1]
    groups = heads // kv_heads
    stop = wave.start + new
    wave.suffix_keys[layer][wave.rows, :, wave.start : stop] = key
    wave.suffix_values[layer][wave.rows, :, wave.start : stop] = value
    own_keys = wave.suffix_keys[layer][wave.rows, :, :stop]
    own_values = wave.suffix_values[layer][wave.rows, :, :stop]
    prefix_keys, prefix_values = wave.prefix_keys[layer], wave.prefix_values[layer]
    prefixes, _, length, _ = prefix_keys.shape
    per_prefix = wave.num_per_prefix

    grouped = (query * scaling).reshape(rows, kv_heads, groups * new, size)
    grid = grouped.new_zeros(prefixes * per_prefix, kv_heads, groups * new, size)
    grid[wave.slots] = grouped
    grid = grid.view(prefixes, per_prefix, kv_heads, groups * new, size).transpose(1, 2)
    grid = grid.reshape(prefixes, kv_heads, per_prefix * groups * new, size)
    shared = grid @ prefix_keys.transpose(-1, -2)
    shared = shared.masked_fill(~wave.prefix_mask[:, None, None, :], float("-inf"))
    shared = shared.view(prefixes, kv_heads, per_prefix, groups * new, length).transpose(1, 2)
    shared = shared.reshape(prefixes * per_prefix, kv_heads, groups * new, length)[wave.slots]
    own = grouped @ own_keys.transpose(-1, -2)
    own = own.view(rows, kv_heads, groups, new, stop).masked_fill(~wave.suffix_mask[:, None, None], float("-inf"))
    own = own.reshape(rows, kv_heads, groups * new, stop)
    weights = torch.cat([shared, own], dim=-1).float().softmax(dim=-1).to(query.dtype)

    grid_weights = weights.new_zeros(prefixes * per_prefix, kv_heads, groups * new, length)
    grid_weights[wave.slots] = weights[..., :length]
    grid_weights = grid_weights.view(prefixes, per_prefix, kv_heads, groups * new, length).transpose(1, 2)
    mixed = grid_weights.reshape(prefixes, kv_heads, per_prefix * groups * new, length) @ prefix_values
    mixed = mixed.view(prefixes, kv_heads, per_prefix, groups * new, size).transpose(1, 2)
    mixed = mixed.reshape(prefixes * per_prefix, kv_heads, groups * new, size)[wave.slots]
    mixed = mixed + weights[..., length:] @ own_values
    return mixed.view(rows, heads, new, size).transpose(1, 2), None


@dataclass(frozen=True)
class Request:
    """`num_samples` continuations of `prompt + extra`; only `prompt` (never empty) is kept as KV."""

    prompt: Ids
    extra: Ids
    num_samples: int
    seed: int


@dataclass(frozen=True)
class Decoded:
    """Sampled ids, their log-probs at temperature 1, and whether the stop token ended them."""

    ids: Ids
    logprobs: tuple[float, ...]
    stopped: bool


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
        self.kept: OrderedDict[Ids, list[tuple[torch.Tensor, torch.Tensor]]] = OrderedDict()
        self.kept_bytes = 0
        self.device = next(model.parameters()).device

    def decode(
        self,
        requests: Sequence[Request],
        temperature: float,
        max_new_tokens: int,
        advance: Callable[[int], None] = lambda requests: None,
    ) -> list[list[Decoded]]:
        """[P][N] continuations. Row n of a request draws from Philox(seed, n) alone. Temperature 0 is greedy."""
        results: list[list[Decoded]] = [[] for _ in requests]
        order = sorted(range(len(requests)), key=lambda index: (len(requests[index].prompt), requests[index].prompt))
        for wave in pack(order, lambda index: requests[index].num_samples, self.max_rows):
            chosen = [requests[index] for index in wave]
            for index, decoded in zip(wave, self.decode_wave(chosen, temperature, max_new_tokens), strict=True):
                results[index] = decoded
            advance(len(wave))
        return results

    @torch.inference_mode()
    def decode_wave(self, requests: list[Request], temperature: float, max_new_tokens: int) -> list[list[Decoded]]:
        owners = [(p, n) for p, request in enumerate(requests) for n in range(request.num_samples)]
        forced = [(requests[p].prompt[-1], *requests[p].extra) for p, _ in owners]
        wave = self.open_wave([request.prompt for request in requests], owners, forced, max_new_tokens)
        depths_A = np.array([len(requests[p].prompt) + len(requests[p].extra) for p, _ in owners])
        draws = np.stack(
            [np.random.Generator(np.random.Philox(key=[requests[p].seed, n])).random(max_new_tokens) for p, n in owners]
        )
        ids: list[list[int]] = [[] for _ in owners]
        logprobs: list[list[float]] = [[] for _ in owners]
        active = np.arange(len(owners))
        slots_A = wave.slots
        hidden_AD = self.feed_forced(wave, forced, depths_A)[:, -1]
        for at in range(max_new_tokens):
            logits_AV = self.model.get_output_embeddings()(hidden_AD).float()
            tokens_A = choose(logits_AV, temperature, torch.from_numpy(draws[active, at]).to(self.device))
            chosen_A = logits_AV.gather(-1, tokens_A[:, None]).squeeze(-1) - logits_AV.logsumexp(dim=-1)
            self.counters.sampled += len(active)
            for row, token, logprob in zip(active.tolist(), tokens_A.tolist(), chosen_A.tolist(), strict=True):
                ids[row].append(token)
                logprobs[row].append(logprob)
            going_A = tokens_A != self.stop_id
            active = active[going_A.cpu().numpy()]
            if not len(active) or at + 1 == max_new_tokens:
                break
            wave.rows = torch.from_numpy(active).to(self.device)
            wave.slots = slots_A[wave.rows]
            positions = torch.from_numpy(depths_A[active] + at).to(self.device)
            hidden_AD = self.feed(wave, tokens_A[going_A][:, None], positions[:, None])[:, -1]
        rows = iter(
            [Decoded(tuple(ids[row]), tuple(logprobs[row]), ids[row][-1] == self.stop_id) for row in range(len(owners))]
        )
        return [[next(rows) for _ in range(request.num_samples)] for request in requests]

    @torch.inference_mode()
    def logprob(self, prompts: Sequence[Ids], continuations: Sequence[Ids]) -> list[list[float]]:
        """[P] lists: log-prob of each continuation token given its prompt and the tokens before it."""
        results: list[list[float]] = [[] for _ in prompts]
        order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), prompts[index]))
        for chosen in pack(order, lambda index: 1, self.max_rows):
            forced = [(prompts[index][-1], *continuations[index][:-1]) for index in chosen]
            owners = [(p, 0) for p in range(len(chosen))]
            wave = self.open_wave([prompts[index] for index in chosen], owners, forced, 0)
            depths = np.array([len(prompts[index]) + len(continuations[index]) - 1 for index in chosen])
            hidden_AQD = self.feed_forced(wave, forced, depths)
            sizes = [len(continuations[index]) for index in chosen]
            picked = torch.cat([hidden_AQD[row, -size:] for row, size in enumerate(sizes)])
            targets = torch.tensor([token for index in chosen for token in continuations[index]], device=self.device)
            scores = token_scores(picked, self.model.get_output_embeddings(), targets).log_probs
            for index, part in zip(chosen, torch.split(scores, sizes), strict=True):
                results[index] = part.tolist()
        return results

    def open_wave(
        self, prompts: list[Ids], owners: list[tuple[int, int]], forced: list[Ids], max_new_tokens: int
    ) -> Wave:
        """Room for the rows `owners` (prefix, n), each to be fed `forced` tokens first and `max_new_tokens` after."""
        kept = self.prefix_kv(prompts)
        num_layers, device = len(kept[0]), self.device
        lengths = [len(prompt) - 1 for prompt in prompts]
        keys, values = (
            [pad_stack([prefix[layer][side] for prefix in kept], max(lengths)) for layer in range(num_layers)]
            for side in (0, 1)
        )
        width = max(len(tokens) for tokens in forced)
        sample = keys[0]
        shape = (len(owners), sample.shape[1], width + max_new_tokens, sample.shape[3])
        real = torch.ones(len(owners), width + max_new_tokens, dtype=torch.bool, device=device)
        for row, tokens in enumerate(forced):
            real[row, : width - len(tokens)] = False
        per_prefix = max(n for _, n in owners) + 1
        return Wave(
            prefix_keys=keys,
            prefix_values=values,
            prefix_mask=torch.arange(max(lengths), device=device)[None, :]
            < torch.tensor(lengths, device=device)[:, None],
            suffix_keys=[sample.new_zeros(shape) for _ in range(num_layers)],
            suffix_values=[sample.new_zeros(shape) for _ in range(num_layers)],
            suffix_real=real,
            rows=torch.arange(len(owners), device=device),
            slots=torch.tensor([p * per_prefix + n for p, n in owners], device=device),
            num_per_prefix=per_prefix,
            suffix_mask=real[:, None],
        )

    def feed_forced(self, wave: Wave, forced: list[Ids], depths_A: np.ndarray) -> torch.Tensor:
        """Hidden states [A, Q, D] of the forced tokens, padded on the left; `depths_A` = position after the last."""
        width = max(len(tokens) for tokens in forced)
        tokens = torch.tensor([[0] * (width - len(row)) + list(row) for row in forced], device=self.device)
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

    def prefix_kv(self, prompts: list[Ids]) -> list[list[tuple[torch.Tensor, torch.Tensor]]]:
        """Per prompt and layer the keys and values [K, L, E] of all tokens but the last, computed where not kept."""
        missing = sorted({prompt for prompt in prompts if prompt not in self.kept}, key=len)
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

    def prefill(self, prompts: list[Ids]) -> list[list[tuple[torch.Tensor, torch.Tensor]]]:
        width = max(len(prompt) for prompt in prompts) - 1
        # Padding on the right needs no mask: under causal attention no real token sees it.
        ids = torch.tensor(
            [list(prompt[:-1]) + [0] * (width - len(prompt) + 1) for prompt in prompts], device=self.device
        )
        self.counters.prefilled += sum(len(prompt) - 1 for prompt in prompts)
        cache = DynamicCache()
        self.model.base_model(input_ids=ids, past_key_values=cache, use_cache=True)
        return [
            [
                (layer.keys[row, :, : len(prompt) - 1].clone(), layer.values[row, :, : len(prompt) - 1].clone())
                for layer in cache.layers
            ]
            for row, prompt in enumerate(prompts)
        ]


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
