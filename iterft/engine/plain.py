"""Decoding and scoring by the model's own forward, rows side by side: for models that cannot share prefixes.

The same answers as `generate.PrefixDecoder` gives where both work, at several times the cost.

Shapes: R rows, T tokens of a row (padded), V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from iterft.engine.decoding import (
    DecodeCounters,
    Decoded,
    DecodingRow,
    Fork,
    Ids,
    decoded,
    is_done,
    open_rows,
    pack,
    take_next,
)
from iterft.engine.head import TokenScores, score_logits
from iterft.engine.prefix_tree import Counters

SCORED_TOKENS = 4096
"""Tokens scored at once, padding included."""


class PlainDecoder:
    """Decodes from one model, at most `max_rows` rows at a time; keeps nothing between calls."""

    def __init__(self, model: Any, stop_id: int, max_rows: int, other_stops: Iterable[int] = ()) -> None:
        """Rows end with `stop_id` or one of `other_stops`."""
        self.model = model.eval()
        self.stop_id = stop_id
        self.stops = {stop_id, *other_stops}
        self.max_rows = max_rows
        self.counters = DecodeCounters()
        self.device = next(model.parameters()).device

    @torch.inference_mode()
    def stream(
        self, forks: deque[Fork], temperature: float, max_new_tokens: int
    ) -> Iterator[tuple[Fork, list[Decoded]]]:
        """See `PrefixDecoder.stream`; here rows enter only once all that are under way have ended."""
        while forks:
            chosen = [forks.popleft()]
            while forks and sum(fork.num_samples for fork in chosen) + forks[0].num_samples <= self.max_rows:
                chosen.append(forks.popleft())
            groups = [open_rows(fork, max_new_tokens) for fork in chosen]
            rows = sorted((row for group in groups for row in group), key=lambda row: row.depth)
            for start in range(0, len(rows), self.max_rows):
                self.decode_rows(rows[start : start + self.max_rows], temperature, max_new_tokens)
            yield from [
                (fork, [decoded(row, self.stops) for row in group]) for fork, group in zip(chosen, groups, strict=True)
            ]

    def decode_rows(self, rows: Sequence[DecodingRow], temperature: float, max_new_tokens: int) -> None:
        """Continues the rows until all have ended; those that have are fed on, and what they say is not looked at. A
        model without a cache of keys and values is given the whole rows again for every token."""
        ids_RT, mask_RT = left_padded([(*row.fork.prompt, *row.fork.extra) for row in rows], self.stop_id, self.device)
        self.counters.prefilled += int(mask_RT.sum())
        self.counters.misses += len(rows)
        cache = None
        live = list(range(len(rows)))
        while live:
            positions = (mask_RT.cumsum(dim=-1) - 1).clamp(min=0)[:, -ids_RT.shape[1] :]
            output = self.model(
                input_ids=ids_RT,
                attention_mask=mask_RT,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = output.get("past_key_values")
            tokens = take_next([rows[at] for at in live], output.logits[live, -1], temperature, self.counters)
            next_R1 = torch.full((len(rows), 1), self.stop_id, device=self.device)
            next_R1[live, 0] = tokens
            ids_RT = next_R1 if cache is not None else torch.cat([ids_RT, next_R1], dim=1)
            mask_RT = torch.cat([mask_RT, mask_RT.new_ones(len(rows), 1)], dim=1)
            live = [at for at in live if not is_done(rows[at], self.stops, max_new_tokens)]

    @torch.inference_mode()
    def logprob(self, prompts: Sequence[Ids], continuations: Sequence[Ids]) -> list[list[float]]:
        """See `PrefixDecoder.logprob`."""
        results: list[list[float]] = [[] for _ in prompts]
        sequences = [(*prompt, *turn) for prompt, turn in zip(prompts, continuations, strict=True)]
        order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
        longest = max(map(len, sequences), default=1)
        for chosen in pack(order, lambda index: longest, SCORED_TOKENS):
            scores = plain_log_probs(self.model, [sequences[index] for index in chosen])
            self.counters.prefilled += sum(len(sequences[index]) for index in chosen)
            for index, score_T in zip(chosen, scores, strict=True):
                results[index] = score_T[len(prompts[index]) - 1 :].tolist()
        return results

    def forget(self) -> None:
        """Nothing is kept."""


def plain_scores(
    model: Any,
    sequences: Sequence[Sequence[int]],
    wanted: Sequence[Sequence[int]],
    counters: Counters,
    temperature: float = 1.0,
) -> list[TokenScores]:
    """See `prefix_tree.score_sequences`. All at once, the logits of all positions too."""
    ids_RT, logits_RTV = plain_logits(model, sequences)
    counters.sequence_tokens += sum(len(sequence) for sequence in sequences)
    counters.unique_tokens += ids_RT.numel()
    counters.head_positions += ids_RT.numel()
    results = []
    for ids_T, logits_TV, positions in zip(ids_RT, logits_RTV, wanted, strict=True):
        at = torch.tensor(positions, dtype=torch.long, device=ids_RT.device)
        results.append(TokenScores(*score_logits(logits_TV[at - 1] / temperature, ids_T[at])[:4]))
    return results


def plain_log_probs(model: Any, sequences: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Per sequence the log-probs [T - 1] of its tokens but the first, each given those before it."""
    ids_RT, logits_RTV = plain_logits(model, sequences)
    results = []
    for ids_T, logits_TV, sequence in zip(ids_RT, logits_RTV, sequences, strict=True):
        log_probs_TV = logits_TV[: len(sequence) - 1].float().log_softmax(dim=-1)
        results.append(log_probs_TV.gather(-1, ids_T[1 : len(sequence), None]).squeeze(-1))
    return results


def plain_logits(model: Any, sequences: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids [R, T], padded on the right, and logits [R, T, V]."""
    device = next(model.parameters()).device
    width = max(map(len, sequences))
    ids_RT, mask_RT = (torch.zeros(len(sequences), width, dtype=torch.long, device=device) for _ in range(2))
    for at, sequence in enumerate(sequences):
        ids_RT[at, : len(sequence)], mask_RT[at, : len(sequence)] = torch.tensor(sequence), 1
    return ids_RT, model(input_ids=ids_RT, attention_mask=mask_RT, use_cache=False).logits


def left_padded(
    sequences: Sequence[Sequence[int]], filler: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask [R, T]; the sequences end together."""
    width = max(map(len, sequences))
    ids = [[filler] * (width - len(sequence)) + list(sequence) for sequence in sequences]
    mask = [[0] * (width - len(sequence)) + [1] * len(sequence) for sequence in sequences]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
