"""Attention for a trunk with branches: what a token trie needs, without the square of the whole row.

The trunk (the common prefix) attends causally to itself; each branch attends to the trunk and, under its own mask, to
itself. Cost: T^2 / 2 + sum over branches of S (T + S), nothing padded, instead of (T + sum S)^2.

Shapes: U tokens of the row, T of them trunk, S of one branch, H query heads, K key/value heads, G = H / K, E head size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True)
class Branches:
    """sizes: tokens of the trunk, then of each branch, which together are the row.  hidden: for each branch [S, S],
    True where a token (first index) may not look."""

    sizes: list[int]
    hidden: tuple[torch.Tensor, ...]


def find_branches(mask_UU: np.ndarray, device: torch.device) -> Branches | None:
    """The branches of a flattened trie, from its ancestor mask; None when there are none. Depth-first order makes the
    trunk the first tokens and each branch a run of tokens."""
    size = len(mask_UU)
    seen_by = mask_UU.sum(axis=0)
    leaves_the_trunk = seen_by != np.arange(size, 0, -1)  # of a trunk token all later tokens are descendants
    if not leaves_the_trunk.any():
        return None
    trunk = int(leaves_the_trunk.argmax())
    starts = [at for at in range(trunk, size) if not mask_UU[at, trunk:at].any()]
    spans = list(zip(starts, [*starts[1:], size], strict=True))
    hidden = (torch.from_numpy(~mask_UU[start:stop, start:stop]).to(device) for start, stop in spans)
    return Branches([trunk, *(stop - start for start, stop in spans)], tuple(hidden))


def branch_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    scaling: float,
    dropout: float = 0.0,
    branches: Branches | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function in transformers' form, for one row: query [1,H,U,E], key, value [1,K,U,E] -> [1,U,H,E]."""
    assert branches is not None and len(query) == 1, "branch attention runs on one row that has branches"
    assert dropout == 0, "branch attention has no dropout"
    heads, kv_heads, size = query.shape[1], key.shape[1], query.shape[3]
    trunk_query, *queries = torch.split(query, branches.sizes, dim=2)
    trunk_key, *keys = torch.split(key, branches.sizes, dim=2)
    trunk_value, *values = torch.split(value, branches.sizes, dim=2)
    trunk = branches.sizes[0]
    mixed = []
    if trunk:
        mixed.append(
            scaled_dot_product_attention(
                trunk_query, trunk_key, trunk_value, is_causal=True, scale=scaling, enable_gqa=heads > kv_heads
            )
        )
    for own_query, own_key, own_value, hidden in zip(queries, keys, values, branches.hidden, strict=True):
        length = own_query.shape[2]
        seen_key, seen_value = torch.cat([trunk_key, own_key], dim=2)[0], torch.cat([trunk_value, own_value], dim=2)[0]
        grouped = (own_query * scaling).reshape(kv_heads, -1, size)  # the query heads of a key head as further tokens
        scores = (grouped @ seen_key.transpose(-1, -2)).view(kv_heads, -1, length, trunk + length)
        scores[..., trunk:].masked_fill_(hidden, float("-inf"))
        weights = scores.float().softmax(dim=-1).to(value.dtype).view(kv_heads, -1, trunk + length)
        mixed.append((weights @ seen_value).view(1, heads, length, size))
    return torch.cat(mixed, dim=2).transpose(1, 2).contiguous(), None
