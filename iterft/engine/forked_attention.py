"""Attention of rows in flight over forked KV: one copy of a prefix for all rows that share it, none per head group.

Attention of a new token = attention over its prefix's KV and over its own suffix.

Shapes: P prefixes, L prefix length (padded), A active rows, N rows of a prefix (padded), Q new tokens of a row,
T suffix capacity, H query heads, K key/value heads, G = H / K, E head size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


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
