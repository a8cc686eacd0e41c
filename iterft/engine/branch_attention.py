"""Attention for a trunk with branches: what a token trie needs, without the square of the whole row.

The trunk (the common prefix) attends causally to itself; each branch attends to the trunk and, under its own mask, to
itself. Cost: T^2 / 2 + B S (T + S) instead of (T + B S)^2.

Shapes: U tokens of the row, T of them trunk, B branches of at most S tokens, H query heads, K key/value heads, E head
size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True)
class Branches:
    """trunk: T.  index [B, S]: row positions of each branch's tokens, 0 behind its end.  real [B, S]: which of these
    are tokens.  mask [B, 1, S, T + S]: where a branch's token may look, trunk first."""

    trunk: int
    index: torch.Tensor
    real: torch.Tensor
    mask: torch.Tensor


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
    stops = [*starts[1:], size]
    longest = max(stop - start for start, stop in zip(starts, stops, strict=True))
    index = np.zeros((len(starts), longest), dtype=np.int64)
    real = np.zeros((len(starts), longest), dtype=bool)
    mask = np.zeros((len(starts), 1, longest, trunk + longest), dtype=bool)
    mask[..., :trunk] = True
    mask[:, 0, np.arange(longest), trunk + np.arange(longest)] = True
    for branch, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        length = stop - start
        index[branch, :length] = np.arange(start, stop)
        real[branch, :length] = True
        mask[branch, 0, :length, trunk : trunk + length] = mask_UU[start:stop, start:stop]
    return Branches(trunk, *(torch.from_numpy(part).to(device) for part in (index, real, mask)))


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
    repeats = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(repeats, dim=1) if repeats > 1 else part for part in (key, value))
    trunk, count = branches.trunk, len(branches.index)
    parts = []
    if trunk:
        first, keys, values = (part[:, :, :trunk] for part in (query, key, value))
        parts.append(
            scaled_dot_product_attention(first, keys, values, is_causal=True, scale=scaling, dropout_p=dropout)
        )
    own_query, own_key, own_value = (part[0][:, branches.index].transpose(0, 1) for part in (query, key, value))
    keys, values = (
        torch.cat([part[:, :, :trunk].expand(count, -1, -1, -1), own], dim=2)
        for part, own in ((key, own_key), (value, own_value))
    )
    mixed = scaled_dot_product_attention(
        own_query, keys, values, attn_mask=branches.mask, scale=scaling, dropout_p=dropout
    )
    parts.append(mixed.transpose(0, 1)[:, branches.real][None])
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None
