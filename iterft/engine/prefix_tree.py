"""One forward over many sequences that share prefixes: each shared token is computed once.

Sequences with a long common prefix become one row (`trie`): position ids by depth, and attention that shows each token
its ancestors only (`branch_attention`). The LM head runs on wanted positions only (`head`).

Shapes: R rows, U unique tokens of a row (padded), D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from iterft.engine.branch_attention import branch_attention, find_branches, flex_attention, tree_mask
from iterft.engine.head import TokenScores, token_scores
from iterft.engine.own_attention import forward_with
from iterft.engine.trie import UNLIMITED, Row, build_rows, merge

MAXIMUM_PADDING = 0.1
"""Share of a batch of rows that may be padding."""


@dataclass
class Counters:
    """What forwards have cost so far, for reports and for tests that count instead of timing. `computed_again`: tokens
    of a first forward whose activations did not fit the budget."""

    sequence_tokens: int = 0
    unique_tokens: int = 0
    head_positions: int = 0
    computed_again: int = 0


def score_sequences(
    backbone: Any,
    head: torch.nn.Module,
    sequences: Sequence[Sequence[int]],
    wanted: Sequence[Sequence[int]],
    counters: Counters,
    max_tokens: int = UNLIMITED,
    temperature: float = 1.0,
) -> list[TokenScores]:
    """Scores of the tokens `sequences[i][t]` for each position t (>= 1) in `wanted[i]`, one `TokenScores` a sequence,
    under logits divided by `temperature`.

    `backbone` is the transformers model below the LM head `head`. Activations of about `max_tokens` unique tokens are
    kept for a backward pass: what does not fit is computed again there, in parts of that size, with the same result."""
    assert all(min(positions, default=1) >= 1 for positions in wanted), "nothing comes before a first token"
    batches = batch_rows(build_rows(sequences, max_tokens), max_tokens, is_packed=uses_flex(backbone))
    sizes = [sum(len(row.ids) for row in batch) for batch in batches]
    counters.sequence_tokens += sum(len(sequence) for sequence in sequences)
    counters.unique_tokens += sum(sizes)
    counters.head_positions += sum(len(positions) for positions in wanted)
    picked = []
    order: list[int] = []
    for number, batch in enumerate(batches):
        pick = partial(hidden_before, backbone, batch, wanted)
        if torch.is_grad_enabled() and sum(sizes[number:]) > max_tokens and number < len(batches) - 1:
            counters.computed_again += sizes[number]
            picked.append(checkpoint(pick, use_reentrant=False))
        else:
            picked.append(pick())
        order.extend(member for row in batch for member in row.members)
    targets = [sequences[member][position] for member in order for position in wanted[member]]
    targets_N = torch.tensor(targets, dtype=torch.long, device=picked[0].device)
    scores = token_scores(torch.cat(picked), head, targets_N, temperature)
    lengths = [len(wanted[member]) for member in order]
    columns = [
        torch.split(column, lengths)
        for column in (scores.log_probs, scores.entropy, scores.mean_logits, scores.is_top1)
    ]
    by_member = dict(zip(order, (TokenScores(*parts) for parts in zip(*columns, strict=True)), strict=True))
    return [by_member[member] for member in range(len(sequences))]


def hidden_before(backbone: Any, batch: Sequence[Row], wanted: Sequence[Sequence[int]]) -> torch.Tensor:
    """Hidden states [wanted positions of the batch, D], each of the token before the wanted one."""
    hidden_RUD = forward_rows(backbone, batch)
    picked = []
    for at, row in enumerate(batch):
        for member, path in zip(row.members, row.paths, strict=True):
            before = torch.from_numpy(path[[position - 1 for position in wanted[member]]]).to(hidden_RUD.device)
            picked.append(hidden_RUD[at, before])
    return torch.cat(picked)


def batch_rows(rows: Sequence[Row], max_tokens: int = UNLIMITED, *, is_packed: bool = False) -> list[list[Row]]:
    """What is computed at a time, of at most `max_tokens` where more than one row is. Packed: rows end to end as one.
    Else rows without branches together while padding stays below `MAXIMUM_PADDING` of what is computed, and each row
    with branches alone."""
    batches: list[list[Row]] = []
    filled = 0
    for row in sorted(rows, key=lambda row: (len(row.members) == 1, -len(row.ids))):
        if batches and (is_packed or len(batches[-1][0].members) == len(row.members) == 1):
            computed = filled + len(row.ids) if is_packed else (len(batches[-1]) + 1) * len(batches[-1][0].ids)
            if filled + len(row.ids) >= (1 - MAXIMUM_PADDING) * computed and computed <= max_tokens:
                batches[-1].append(row)
                filled += len(row.ids)
                continue
        batches.append([row])
        filled = len(row.ids)
    return [[merge(batch)] for batch in batches] if is_packed else batches


def uses_flex(backbone: Any) -> bool:
    """On CUDA all rows of a forward are one, under FlexAttention; a CPU gains nothing from long rows."""
    return bool(next(backbone.parameters()).device.type == "cuda")


def forward_rows(backbone: Any, rows: Sequence[Row], cache: Any = None) -> torch.Tensor:
    """Hidden states [R, U, D]: of one row with branches, or of rows without, padded to the longest. An empty
    transformers `cache` is filled with keys and values."""
    device = next(backbone.parameters()).device
    if uses_flex(backbone) and len(rows) == 1:
        ids, depths, mask = tree_mask(rows[0], device)
        return forward_with(flex_attention, backbone, ids, depths, cache, mask=mask)
    width = max(len(row.ids) for row in rows)
    ids_RU = np.zeros((len(rows), width), dtype=np.int64)
    # Depths run on over the padding: transformers takes a position that falls back for the start of a packed sequence.
    depths_RU = np.tile(np.arange(width), (len(rows), 1))
    for at, row in enumerate(rows):
        ids_RU[at, : len(row.ids)], depths_RU[at, : len(row.ids)] = row.ids, row.depths
    ids, depths = (torch.from_numpy(part).to(device) for part in (ids_RU, depths_RU))
    branches = find_branches(rows[0].stops, device)
    if branches is not None:
        assert len(rows) == 1, "a row with branches is computed alone"
        return forward_with(branch_attention, backbone, ids, depths, cache, branches=branches)
    # Plain causal attention needs no mask: the padding lies behind every real token.
    output = backbone(
        input_ids=ids, position_ids=depths, attention_mask=None, past_key_values=cache, use_cache=cache is not None
    )
    hidden: torch.Tensor = output.last_hidden_state
    return hidden
