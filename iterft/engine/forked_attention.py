"""Attention of rows in flight over forked KV: one copy of a prefix for all rows that share it, none per head group.

Attention of a new token = attention over its prefix's KV and over its own suffix.

Shapes: P prefixes, L prefix length (padded), A active rows, N rows of a prefix (padded), Q new tokens of a row,
T suffix capacity, H query heads, K key/value heads, G = H / K, E head size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

WORTH_COPYING = 0.5
"""When at most this part of the prefixes is looked at, those are copied out instead of computing with all."""


@dataclass
class Wave:
    """The rows in flight and their KV.

    prefix_keys, prefix_values   per layer [P, K, L, E]
    prefix_hidden                [P, 1, 1, L], True where a key is padding
    suffix_keys, suffix_values   per layer [rows opened, K, T, E], written in place
    suffix_real                  [rows opened, T], False for the padding left of a row's forced tokens
    owners                       [rows opened]: the prefix of each row
    rows                         [A]: which opened rows are active
    start                        suffix cells filled so far, the same for all rows
    """

    prefix_keys: list[torch.Tensor]
    prefix_values: list[torch.Tensor]
    prefix_hidden: torch.Tensor
    suffix_keys: list[torch.Tensor]
    suffix_values: list[torch.Tensor]
    suffix_real: torch.Tensor
    owners: np.ndarray
    rows: np.ndarray
    start: int


@dataclass(frozen=True)
class View:
    """What one forward of the active rows looks at.

    rows          [A]: as in the wave
    prefixes      [P']: the prefixes computed with; None for all
    slots         [A]: the cell p * N + n of each row in the grid [P', N]
    suffix_mask   [rows opened, 1, 1, Q, stop]: True where a new token may not look
    """

    rows: torch.Tensor
    prefixes: torch.Tensor | None
    slots: torch.Tensor
    num_per_prefix: int
    suffix_mask: torch.Tensor


def look(wave: Wave, num_new: int) -> View:
    """The view of a forward of `num_new` tokens for each active row."""
    device = wave.suffix_real.device
    owners_A = wave.owners[wave.rows]
    owned, places_A, counts = np.unique(owners_A, return_inverse=True, return_counts=True)
    is_copied = len(owned) <= WORTH_COPYING * len(wave.prefix_hidden)
    first_of_owner = np.cumsum(counts) - counts
    by_owner = np.argsort(places_A, kind="stable")
    ranks_A = np.empty_like(places_A)
    ranks_A[by_owner] = np.arange(len(places_A)) - first_of_owner[places_A[by_owner]]
    num_per_prefix = int(counts.max())
    slots_A = (places_A if is_copied else owners_A) * num_per_prefix + ranks_A
    rows = torch.from_numpy(wave.rows).to(device)
    stop = wave.start + num_new
    columns = torch.arange(stop, device=device)
    later = columns > (wave.start + torch.arange(num_new, device=device))[:, None]
    return View(
        rows=rows,
        prefixes=torch.from_numpy(owned).to(device) if is_copied else None,
        slots=torch.from_numpy(slots_A).to(device),
        num_per_prefix=num_per_prefix,
        suffix_mask=(~wave.suffix_real[:, None, :stop] | later)[:, None, None],
    )


def forked_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    scaling: float,
    dropout: float = 0.0,
    wave: Wave | None = None,
    view: View | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function in transformers' form: query [A,H,Q,E], key and value [A,K,Q,E] -> [A,Q,H,E]."""
    assert wave is not None and view is not None, "forked attention runs only inside a wave"
    layer = module.layer_idx
    rows, heads, new, size = query.shape
    kv_heads = key.shape[1]
    groups = heads // kv_heads
    stop = wave.start + new
    wave.suffix_keys[layer][view.rows, :, wave.start : stop] = key
    wave.suffix_values[layer][view.rows, :, wave.start : stop] = value
    suffix_keys, suffix_values = wave.suffix_keys[layer][:, :, :stop], wave.suffix_values[layer][:, :, :stop]
    prefix_keys, prefix_values, hidden = wave.prefix_keys[layer], wave.prefix_values[layer], wave.prefix_hidden
    if view.prefixes is not None:
        prefix_keys, prefix_values, hidden = (part[view.prefixes] for part in (prefix_keys, prefix_values, hidden))
    prefixes, per_prefix = len(prefix_keys), view.num_per_prefix

    def to_grid(cells: torch.Tensor) -> torch.Tensor:
        grid = cells.new_zeros(prefixes * per_prefix, *cells.shape[1:])
        grid[view.slots] = cells
        grid = grid.view(prefixes, per_prefix, kv_heads, groups * new, size).transpose(1, 2)
        return grid.reshape(prefixes, kv_heads, per_prefix * groups * new, size)

    def from_grid(grid: torch.Tensor) -> torch.Tensor:
        grid = grid.view(prefixes, kv_heads, per_prefix, groups * new, -1).transpose(1, 2)
        return grid.reshape(prefixes * per_prefix, kv_heads, groups * new, -1)[view.slots]

    grouped = (query * scaling).reshape(rows, kv_heads, groups * new, size)
    opened = grouped.new_zeros(len(suffix_keys), *grouped.shape[1:])  # rows that have ended too: no KV is copied
    opened[view.rows] = grouped
    scores = opened @ suffix_keys.transpose(-1, -2)
    scores.view(-1, kv_heads, groups, new, stop).masked_fill_(view.suffix_mask, float("-inf"))
    own = Attended(*(part[view.rows] for part in attend(scores, suffix_values)))
    scores = to_grid(grouped) @ prefix_keys.transpose(-1, -2)
    shared = Attended(*map(from_grid, attend(scores.masked_fill_(hidden, float("-inf")), prefix_values)))
    return merge(shared, own).to(query.dtype).view(rows, heads, new, size).transpose(1, 2), None


class Attended(NamedTuple):
    """Attention over a part of the keys, not yet divided: sums [..., E] of values weighted by exp(score - top), the
    highest score [..., 1] and the sum [..., 1] of the weights."""

    mixed: torch.Tensor
    top: torch.Tensor
    total: torch.Tensor


def attend(scores: torch.Tensor, values: torch.Tensor) -> Attended:
    """Attention by `scores` [..., Q, L] over values [..., L, E]; overwrites the scores."""
    scores = scores.float()
    top = scores.amax(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).min)
    weights = scores.sub_(top).exp_()
    return Attended((weights.to(values.dtype) @ values).float(), top, weights.sum(dim=-1, keepdim=True))


def merge(first: Attended, second: Attended) -> torch.Tensor:
    """Attention over both parts."""
    top = torch.maximum(first.top, second.top)
    scale_first, scale_second = (first.top - top).exp(), (second.top - top).exp()
    mixed = first.mixed * scale_first + second.mixed * scale_second
    return mixed / (first.total * scale_first + second.total * scale_second)
