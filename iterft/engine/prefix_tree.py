"""One forward over many sequences that share prefixes: each shared token is computed once.

Sequences with a long common prefix become one row: a token trie, flattened depth first, position ids by depth, and
attention that shows each token its ancestors only (`branch_attention`). The LM head runs on wanted positions only.
`attach` puts this under TRL's trainers, whose log-probs all come from one call of the model.

Shapes: R rows, U unique tokens of a row (padded), D hidden size.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from iterft.engine.branch_attention import branch_attention, find_branches
from iterft.engine.head import TokenScores, token_scores
from iterft.engine.own_attention import forward_with

MINIMUM_SHARE = 0.5
"""Sequences share a row when their common prefix is at least this part of the longer one: below that, the masked
attention over both costs more than the tokens that are saved."""

MAXIMUM_PADDING = 0.1
"""Share of a batch of rows that may be padding."""


@dataclass
class Counters:
    """What forwards have cost so far, for reports and for tests that count instead of timing."""

    sequence_tokens: int = 0
    unique_tokens: int = 0
    head_positions: int = 0


@dataclass(frozen=True)
class Row:
    """One flattened trie: ids, depths and mask of its U nodes, and for each member sequence its path of nodes."""

    ids: np.ndarray
    depths: np.ndarray
    mask: np.ndarray
    members: tuple[int, ...]
    paths: tuple[np.ndarray, ...]


def build_rows(sequences: Sequence[Sequence[int]]) -> list[Row]:
    """Groups sequences by common prefix (neighbours in sorted order share the longest) and flattens each group."""
    order = sorted(range(len(sequences)), key=lambda index: tuple(sequences[index]))
    groups = group_neighbours([sequences[index] for index in order])
    return [flatten(sequences, [order[at] for at in group]) for group in groups]


def group_neighbours(sequences: Sequence[Sequence[int]]) -> list[list[int]]:
    """Indices of consecutive sequences, a group as long as each shares a row with the one before it."""
    groups: list[list[int]] = []
    for index, sequence in enumerate(sequences):
        if index and shares_row(sequences[index - 1], sequence):
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def shares_row(first: Sequence[int], second: Sequence[int]) -> bool:
    shorter = min(len(first), len(second))
    common = next((at for at in range(shorter) if first[at] != second[at]), shorter)
    return common >= MINIMUM_SHARE * max(len(first), len(second))


def flatten(sequences: Sequence[Sequence[int]], group: list[int]) -> Row:
    """The trie of the group's sequences. Children follow their parent, so a mask row is its parent's plus itself."""
    ids: list[int] = []
    depths: list[int] = []
    parents: list[int] = []
    children: dict[tuple[int, int], int] = {}
    paths = []
    for index in group:
        node, path = -1, []
        for depth, token in enumerate(sequences[index]):
            child = children.get((node, token))
            if child is None:
                child = children[node, token] = len(ids)
                ids.append(token)
                depths.append(depth)
                parents.append(node)
            path.append(child)
            node = child
        paths.append(np.asarray(path))
    mask = np.zeros((len(ids), len(ids)), dtype=bool)
    for node, parent in enumerate(parents):
        if parent >= 0:
            mask[node, : parent + 1] = mask[parent, : parent + 1]
        mask[node, node] = True
    return Row(np.asarray(ids), np.asarray(depths), mask, tuple(group), tuple(paths))


def score_sequences(
    backbone: Any,
    head: torch.nn.Module,
    sequences: Sequence[Sequence[int]],
    wanted: Sequence[Sequence[int]],
    counters: Counters,
) -> list[TokenScores]:
    """Scores of the tokens `sequences[i][t]` for each position t (>= 1) in `wanted[i]`, one `TokenScores` a sequence.

    `backbone` is the transformers model below the LM head `head`."""
    rows = build_rows(sequences)
    counters.sequence_tokens += sum(len(sequence) for sequence in sequences)
    counters.unique_tokens += sum(len(row.ids) for row in rows)
    counters.head_positions += sum(len(positions) for positions in wanted)
    picked = []
    order: list[int] = []
    for batch in batch_rows(rows):
        hidden_RUD = forward_rows(backbone, batch)
        for at, row in enumerate(batch):
            for member, path in zip(row.members, row.paths, strict=True):
                before = torch.from_numpy(path[[position - 1 for position in wanted[member]]]).to(hidden_RUD.device)
                picked.append(hidden_RUD[at, before])
                order.append(member)
    targets = torch.tensor([sequences[member][position] for member in order for position in wanted[member]])
    scores = token_scores(torch.cat(picked), head, targets.to(picked[0].device))
    sizes = [len(wanted[member]) for member in order]
    columns = [
        torch.split(column, sizes) for column in (scores.log_probs, scores.entropy, scores.mean_logits, scores.is_top1)
    ]
    by_member = dict(zip(order, (TokenScores(*parts) for parts in zip(*columns, strict=True)), strict=True))
    return [by_member[member] for member in range(len(sequences))]


def batch_rows(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows without branches together while padding stays below `MAXIMUM_PADDING` of what is computed; each row with
    branches alone."""
    batches: list[list[Row]] = []
    filled = 0
    for row in sorted(rows, key=lambda row: (len(row.members) == 1, -len(row.ids))):
        if batches and len(batches[-1][0].members) == len(row.members) == 1:
            computed = (len(batches[-1]) + 1) * len(batches[-1][0].ids)
            if filled + len(row.ids) >= (1 - MAXIMUM_PADDING) * computed:
                batches[-1].append(row)
                filled += len(row.ids)
                continue
        batches.append([row])
        filled = len(row.ids)
    return batches


def forward_rows(backbone: Any, rows: Sequence[Row], cache: Any = None) -> torch.Tensor:
    """Hidden states [R, U, D]: of one row with branches, or of rows without, padded to the longest. An empty
    transformers `cache` is filled with keys and values."""
    device = next(backbone.parameters()).device
    width = max(len(row.ids) for row in rows)
    ids_RU = np.zeros((len(rows), width), dtype=np.int64)
    # Depths run on over the padding: transformers takes a position that falls back for the start of a packed sequence.
    depths_RU = np.tile(np.arange(width), (len(rows), 1))
    for at, row in enumerate(rows):
        ids_RU[at, : len(row.ids)], depths_RU[at, : len(row.ids)] = row.ids, row.depths
    ids, depths = (torch.from_numpy(part).to(device) for part in (ids_RU, depths_RU))
    branches = find_branches(rows[0].mask, device)
    if branches is not None:
        assert len(rows) == 1, "a row with branches is computed alone"
        return forward_with(branch_attention, backbone, ids, depths, cache, branches=branches)
    # Plain causal attention needs no mask: the padding lies behind every real token.
    output = backbone(
        input_ids=ids, position_ids=depths, attention_mask=None, past_key_values=cache, use_cache=cache is not None
    )
    hidden: torch.Tensor = output.last_hidden_state
    return hidden


def attach(model: Any, counters: Counters) -> None:
    """Makes `model(..., labels=..., fused_lm_head=True)`, from which TRL 1.16 takes every log-prob, run through
    `score_sequences`. To be called on the plain causal LM (inside any PEFT wrapper) after the trainer is built."""
    from trl.trainer.utils import FusedCausalLMOutput

    original = model.forward

    def forward(
        self: Any,
        *args: Any,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        fused_lm_head: bool = False,
        **kwargs: Any,
    ) -> Any:
        if not fused_lm_head or input_ids is None or attention_mask is None or labels is None:
            return original(
                *args,
                input_ids=input_ids,
                attention_mask=attention_mask,
                labels=labels,
                fused_lm_head=fused_lm_head,
                **kwargs,
            )
        lengths = attention_mask.sum(dim=1).tolist()
        sequences = [row[:length] for row, length in zip(input_ids.tolist(), lengths, strict=True)]
        label_mask = labels[:, 1:] != -100
        wanted = [(row.nonzero().flatten() + 1).tolist() for row in label_mask]
        scores = score_sequences(self.base_model, self.get_output_embeddings(), sequences, wanted, counters)

        def scatter(name: str) -> torch.Tensor:
            flat = torch.cat([getattr(score, name) for score in scores])
            return flat.new_zeros(label_mask.shape).masked_scatter(label_mask, flat)

        log_probs = scatter("log_probs")
        return FusedCausalLMOutput(
            loss=-log_probs.sum() / label_mask.sum().clamp(min=1),
            log_probs=log_probs,
            entropy=scatter("entropy"),
            mean_logits=scatter("mean_logits"),
            is_top1=scatter("is_top1"),
            label_mask=label_mask,
        )

    model.forward = types.MethodType(forward, model)
