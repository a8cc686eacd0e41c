"""A policy that speaks from a script: each character is a token, each prompt has weighted turns. For tests of all
that must not depend on a model, and for measuring search where the right answer is known."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from iterft.policies.at_once import at_once
from iterft.types import Completion, Prompt, Request

STOP = 0


class ScriptedPolicy:
    """`turns(prompt)` = turn text -> weight. Continuations are drawn from the turns that start with what is written.
    `max_requests` are under way at a time in a stream; those whose completions are shortest end first."""

    def __init__(self, turns: Callable[[str], Mapping[str, float]], max_requests: int = 1) -> None:
        self.turns = turns
        self.max_requests = max_requests

    def render(self, prompt: Prompt) -> tuple[int, ...]:
        return (*map(ord, json.dumps([list(prompt.messages), list(prompt.tools)])), ord("\x01"))

    def encode_turn(self, text: str) -> tuple[int, ...]:
        return (*map(ord, text), STOP)

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        return ["" if token == STOP else chr(token) for token in ids]

    def sample(
        self,
        prefixes: Sequence[Sequence[int]],
        num_samples: Sequence[int],
        temperature: float,
        seeds: Sequence[int],
        advance: Callable[[int], None] = lambda rows: None,
        refute: Callable[[int, Sequence[int]], bool] | None = None,
    ) -> list[list[Completion]]:
        return at_once(self.stream, prefixes, num_samples, temperature, seeds, advance, refute)

    def stream(self, requests: deque[Request], temperature: float) -> Iterator[tuple[Request, list[Completion]]]:
        under_way: list[tuple[Request, list[Completion]]] = []
        while requests or under_way:
            while requests and len(under_way) < self.max_requests:
                request = requests.popleft()
                under_way.append((request, self.draw(request, temperature)))
            under_way.sort(key=lambda item: max(len(row.ids) for row in item[1]))
            yield under_way.pop(0)

    def draw(self, request: Request, temperature: float) -> list[Completion]:
        rows = []
        for n in range(request.num_samples):
            draws = np.random.Generator(np.random.Philox(key=[request.seed, n]))
            written = list(request.prefix)
            ids: list[int] = []
            refuted = False
            while not refuted and (not ids or ids[-1] != STOP):
                options = self.next_tokens(written)
                weights = np.array(list(options.values())) ** (1 / temperature if temperature else 50)
                ids.append(list(options)[int(draws.choice(len(options), p=weights / weights.sum()))])
                written.append(ids[-1])
                refuted = request.refute is not None and ids[-1] != STOP and request.refute(ids)
            scores = tuple(self.logprob([request.prefix], [ids])[0])
            rows.append(Completion(tuple(ids), scores, "refuted" if refuted else "stop"))
        return rows

    def logprob(self, prefixes: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> list[list[float]]:
        results = []
        for prefix, continuation in zip(prefixes, continuations, strict=True):
            written, scores = list(prefix), []
            for token in continuation:
                scores.append(math.log(max(self.next_tokens(written).get(token, 0.0), 1e-9)))
                written.append(token)
            results.append(scores)
        return results

    def forget(self) -> None:
        """There is nothing to forget: every call stands alone."""

    def next_tokens(self, written: Sequence[int]) -> dict[int, float]:
        """Probability of each next token. What is in no turn can only stop."""
        text = "".join(map(chr, written))
        prompt, _, turn = text.partition("\x01")
        weights: dict[int, float] = {}
        for candidate, weight in self.turns(prompt).items():
            if candidate.startswith(turn):
                token = STOP if candidate == turn else ord(candidate[len(turn)])
                weights[token] = weights.get(token, 0.0) + weight
        total = sum(weights.values())
        return {token: weight / total for token, weight in weights.items()} if total else {STOP: 1.0}
