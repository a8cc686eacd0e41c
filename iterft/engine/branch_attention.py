"""Attention over a token trie: each token sees its ancestors, without the square of the whole row.

Two ways. On CUDA, FlexAttention under a block mask, whatever the shape of the row. Elsewhere by branches: the trunk
(the common prefix) attends causally to itself; each branch attends to the trunk and, under its own mask, to itself.
Cost: T^2 / 2 + sum over branches of S (T + S), nothing padded, instead of (T + sum S)^2.

Shapes: U tokens of the row, T of them trunk, S of one branch, H query heads, K key/value heads, G = H / K, E head size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from iterft.engine.trie import Row


@dataclass(frozen=True)
class Branches:
    """sizes: tokens of the trunk, then of each branch, which together are the row.  hidden: for each branch [S, S],
    True where a token (first index) may not look."""

    sizes: list[int]
    hidden: tuple[torch.Tensor, ...]


def find_branches(stops_U: np.ndarray, device: torch.device) -> Branches | None:
    """The branches of a flattened trie, from where its subtrees end; None when there are none."""
    size = len(stops_U)
    leaves_the_trunk = stops_U != size  # of a trunk token all later tokens are descendants
    if not leaves_the_trunk.any():
        return None
    trunk = int(leaves_the_trunk.argmax())
    spans = []
    start = trunk
    while start < size:
        spans.append((start, int(stops_U[start])))
        start = spans[-1][1]
    hidden = (torch.from_numpy(~sees(stops_U[start:stop] - start)).to(device) for start, stop in spans)
    return Branches([trunk, *(stop - start for start, stop in spans)], tuple(hidden))


def sees(stops_U: np.ndarray) -> np.ndarray:
    """[U, U], True where the second token is an ancestor of the first or the token itself."""
    own = np.arange(len(stops_U))
    return (own[None, :] <= own[:, None]) & (own[:, None] < stops_U[None, :])


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
        weights = scores.softmax(dim=-1).to(value.dtype).view(kv_heads, -1, trunk + length)  # sums in float32 inside
        mixed.append((weights @ seen_value).view(1, heads, length, size))
    return torch.cat(mixed, dim=2).transpose(1, 2).contiguous(), None


FLEX_BLOCK = 128
"""Tokens of a row are padded to a multiple of this, FlexAttention's block."""


@cache
def compiled_flex_attention() -> Any:
    from torch.nn.attention.flex_attention import flex_attention as uncompiled

    # Shapes, dtypes and modes of gradients each take one of 8; then it would go on uncompiled, and say nothing.
    torch._dynamo.config.recompile_limit = max(32, torch._dynamo.config.recompile_limit)
    return torch.compile(uncompiled, dynamic=True)


def tree_mask(row: Row, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Ids and depths [1, U] of a row, padded, and FlexAttention's block mask: ancestors only, blocks without any are
    skipped, and in blocks of ancestors alone no token is asked for."""
    size = len(row.ids)
    width = -(-size // FLEX_BLOCK) * FLEX_BLOCK
    ids, depths, stops = np.zeros((3, width), dtype=np.int64)
    ids[:size], depths[:size], stops[:size] = row.ids, row.depths, row.stops
    stops[size:] = np.arange(size, width) + 1  # padding sees itself only
    mask = block_mask(stops, device)
    return torch.from_numpy(ids)[None].to(device), torch.from_numpy(depths)[None].to(device), mask


def block_mask(stops: np.ndarray, device: torch.device) -> Any:
    """From the ends of subtrees [U], U a multiple of the block, without a [U, U] mask on the way. Keys of an earlier
    block are seen by some query of a later one if the last of their subtrees to end reaches into it, and by all if the
    first covers it."""
    from torch.nn.attention.flex_attention import BlockMask

    by_block = stops.reshape(-1, FLEX_BLOCK)
    first_query = np.arange(len(by_block)) * FLEX_BLOCK
    is_earlier = first_query[None, :] < first_query[:, None]  # [query blocks, key blocks]
    is_full = is_earlier & (by_block.min(axis=1)[None, :] >= first_query[:, None] + FLEX_BLOCK)
    is_some = is_earlier & ~is_full & (by_block.max(axis=1)[None, :] > first_query[:, None])
    is_some |= np.eye(len(by_block), dtype=bool)
    stops_U = torch.from_numpy(stops).to(device)

    def is_seen(batch: Any, head: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return (key <= query) & (query < stops_U[key])

    def listed(is_in: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """How many key blocks each query block has, and which; the others behind them."""
        counts, order = is_in.sum(axis=1), np.argsort(~is_in, axis=1, kind="stable")
        counted, ordered = (torch.from_numpy(part.astype(np.int32))[None, None] for part in (counts, order))
        return counted.to(device), ordered.to(device)

    return BlockMask.from_kv_blocks(*listed(is_some), *listed(is_full), BLOCK_SIZE=FLEX_BLOCK, mask_mod=is_seen)


def flex_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    scaling: float,
    dropout: float = 0.0,
    mask: Any = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function in transformers' form, for one row under `tree_mask`: query [1,H,U,E] -> [1,U,H,E]. Memory
    grows with U, not with its square."""
    assert mask is not None and len(query) == 1, "flex attention runs on one row under its mask"
    assert dropout == 0, "flex attention has no dropout"
    is_grouped = query.shape[1] > key.shape[1]
    mixed = compiled_flex_attention()(query, key, value, block_mask=mask, scale=scaling, enable_gqa=is_grouped)
    return mixed.transpose(1, 2).contiguous(), None
