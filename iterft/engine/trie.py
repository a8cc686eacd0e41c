"""Sequences that share prefixes as token tries, each flattened depth first into one row. Numbers only, no torch.

In such a row the ancestors of a token are those earlier tokens whose subtree has not ended yet: token k is seen by
token q when k <= q < stops[k]. No [U, U] mask is needed to say so. U: unique tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

UNLIMITED = 2**62

MINIMUM_SHARE = 0.5
"""Sequences share a row when their common prefix is at least this part of the longer one: below that, the masked
attention over both costs more than the tokens that are saved."""


@dataclass(frozen=True)
class Row:
    """Flattened tries: ids [U] and depths [U] of the nodes, where the subtree of each ends [U] (the first node behind
    it), and for each member sequence its path of nodes."""

    ids: np.ndarray
    depths: np.ndarray
    stops: np.ndarray
    members: tuple[int, ...]
    paths: tuple[np.ndarray, ...]


def build_rows(sequences: Sequence[Sequence[int]], max_tokens: int = UNLIMITED) -> list[Row]:
    """Groups sequences by common prefix (neighbours in sorted order share the longest) and flattens each group. A row
    of more than `max_tokens` holds one sequence: larger groups are split, and what they share is repeated."""
    order = sorted(range(len(sequences)), key=lambda index: tuple(sequences[index]))
    groups = group_neighbours([sequences[index] for index in order], max_tokens)
    return [flatten(sequences, [order[at] for at in group]) for group in groups]


def num_unique_tokens(sequences: Sequence[Sequence[int]]) -> int:
    """What one forward over them computes."""
    return sum(len(row.ids) for row in build_rows(sequences))


def group_neighbours(sequences: Sequence[Sequence[int]], max_tokens: int = UNLIMITED) -> list[list[int]]:
    """Indices of consecutive sequences, a group as long as each shares a row with the one before it and what is to be
    computed for the group stays within `max_tokens`."""
    groups: list[list[int]] = []
    last, filled = np.zeros(0, dtype=np.int64), 0
    for index, sequence in enumerate(sequences):
        ids = np.asarray(sequence)
        common = shared_length(last, ids) if index else 0
        filled += len(ids) - common
        if common and filled <= max_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
            filled = len(ids)
        last = ids
    return groups


def shared_length(first: np.ndarray, second: np.ndarray) -> int:
    """Length of the common prefix of two sequences that are to share a row, 0 if they are not."""
    longer = max(len(first), len(second))
    if min(len(first), len(second)) < MINIMUM_SHARE * longer:
        return 0
    common = common_length(first, second)
    return common if common >= MINIMUM_SHARE * longer else 0


def common_length(first: np.ndarray, second: np.ndarray) -> int:
    """Tokens at the beginning that both have."""
    shorter = min(len(first), len(second))
    differs = first[:shorter] != second[:shorter]
    return int(differs.argmax()) if differs.any() else shorter


def flatten(sequences: Sequence[Sequence[int]], group: list[int]) -> Row:
    """The trie of a group of sequences that come in sorted order: what a sequence shares with any before it, it shares
    with the last."""
    ids: list[np.ndarray] = []
    depths: list[np.ndarray] = []
    stops = np.zeros(sum(len(sequences[index]) for index in group), dtype=np.int64)
    last, path, size = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), 0
    paths = []
    for index in group:
        sequence = np.asarray(sequences[index], dtype=np.int64)
        common = common_length(last, sequence)
        stops[path[common:]] = size
        num_new = len(sequence) - common
        ids.append(sequence[common:])
        depths.append(np.arange(common, len(sequence)))
        path = np.concatenate([path[:common], np.arange(size, size + num_new)])
        paths.append(path)
        last, size = sequence, size + num_new
    stops[path] = size
    return Row(np.concatenate(ids), np.concatenate(depths), stops[:size], tuple(group), tuple(paths))


def merge(rows: Sequence[Row]) -> Row:
    """Several rows end to end as one, in which no token sees one of another row."""
    starts = np.cumsum([0, *(len(row.ids) for row in rows)])[:-1]
    return Row(
        ids=np.concatenate([row.ids for row in rows]),
        depths=np.concatenate([row.depths for row in rows]),
        stops=np.concatenate([row.stops + start for row, start in zip(rows, starts, strict=True)]),
        members=tuple(member for row in rows for member in row.members),
        paths=tuple(path + start for row, start in zip(rows, starts, strict=True) for path in row.paths),
    )
