"""A policy on vLLM, the engine for GPUs: token ids in, token ids out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from iterft.config import PolicySettings
from iterft.engine.decoding import DecodeCounters
from iterft.policies.at_once import at_once
from iterft.policies.vllm_engine import VllmEngine
from iterft.template import Template
from iterft.tokens import encode_turn, render_prompt, token_texts
from iterft.types import Completion, FinishReason, Prompt, Request


@dataclass
class Row:
    """A continuation in the making."""

    request: Request
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None

    def completion(self) -> Completion:
        assert self.finish_reason is not None, "the row has ended"
        return Completion(tuple(self.ids), tuple(self.logprobs), self.finish_reason)


class VllmPolicy:
    """One checkpoint on a running engine; see `protocols.Policy` for the contract. `adapter` is what the engine's
    `serving` yields. Continuations of one prefix share its KV but for the last, partial block."""

    def __init__(self, engine: VllmEngine, adapter: Any, template: Template, settings: PolicySettings) -> None:
        self.engine = engine
        self.adapter = adapter
        self.template = template
        self.tokenizer = template.tokenizer
        self.settings = settings
        self.stop_id: int = template.tokenizer.eos_token_id
        self.counters = DecodeCounters()

    def render(self, prompt: Prompt) -> tuple[int, ...]:
        return render_prompt(self.template, prompt)

    def encode_turn(self, text: str) -> tuple[int, ...]:
        return encode_turn(self.tokenizer, text)

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        return token_texts(self.tokenizer, ids, self.template.other_stops)

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
        under_way: dict[Request, list[Row]] = {}
        rows: dict[str, Row] = {}
        try:
            while True:
                while requests and (not rows or len(rows) + requests[0].num_samples <= self.settings.max_rows):
                    request = requests.popleft()
                    under_way[request] = [Row(request) for _ in range(request.num_samples)]
                    for n, row in enumerate(under_way[request]):
                        params = self.sampling(request, n, temperature)
                        rows[self.engine.add(request.prefix, params, self.adapter)] = row
                if not rows:
                    return
                for request in self.take(rows):
                    if all(row.finish_reason for row in under_way[request]):
                        yield request, [row.completion() for row in under_way.pop(request)]
        finally:
            self.engine.drop(list(rows))

    def take(self, rows: dict[str, Row]) -> list[Request]:
        """Waits for tokens and gives them to their rows; those that have ended leave `rows`. Returns the requests that
        they belong to."""
        ended: dict[Request, None] = {}
        refuted: list[str] = []
        for output in self.engine.outputs(rows):
            name, row = output.request_id, rows.get(output.request_id)
            if row is None:  # it was refuted by an earlier output
                continue
            self.extend(row, output)
            if row.finish_reason is None:
                continue
            del rows[name]
            ended[row.request] = None
            if not output.finished:
                refuted.append(name)
        self.engine.drop(refuted)
        return list(ended)

    def extend(self, row: Row, output: Any) -> None:
        """Gives a row the tokens of an output, up to where it is refuted."""
        (part,) = output.outputs
        if not row.ids:
            self.count(output)
        refute = row.request.refute
        for token, scores in zip(part.token_ids, part.logprobs, strict=True):
            row.ids.append(token)
            row.logprobs.append(scores[token].logprob)
            self.counters.sampled += 1
            if token == self.stop_id or token in self.template.other_stops:
                row.finish_reason = "stop"
            elif refute is not None and refute(tuple(row.ids)):
                row.finish_reason = "refuted"
                return
        if output.finished and row.finish_reason is None:
            row.finish_reason = "length"

    def count(self, output: Any) -> None:
        """Notes what a continuation's prefix cost, and whether a block of it or more was there already."""
        cached = output.num_cached_tokens or 0
        self.counters.prefilled += len(output.prompt_token_ids) - cached
        self.counters.hits += cached > 0
        self.counters.misses += cached == 0

    def sampling(self, request: Request, n: int, temperature: float) -> Any:
        """Continuation n as a request of its own: vLLM splits one for several into such, and would seed them by
        seed + n, which another request may have as well. Where the model was made for less than a whole turn behind
        the prefix, it ends there, as one that ran out of tokens."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        room = self.settings.max_new_tokens
        if self.engine.is_capped:
            room = max(1, min(room, self.engine.max_length - len(request.prefix)))
        seed = np.random.SeedSequence([request.seed, n]).generate_state(1, np.uint64)
        return SamplingParams(
            temperature=temperature,
            seed=int(seed[0]) >> 1,
            max_tokens=room,
            logprobs=0,
            stop_token_ids=[self.stop_id, *sorted(self.template.other_stops)],
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA if request.refute else RequestOutputKind.FINAL_ONLY,
        )

    def logprob(self, prefixes: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> list[list[float]]:
        """See `protocols.Policy`; a prefix has one token or more, as nothing predicts the first. vLLM computes the
        prefixes anew, once for every continuation."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            temperature=0.0,
            max_tokens=1,
            prompt_logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        results: list[list[float]] = [[] for _ in prefixes]
        asked: dict[str, int] = {}
        try:
            for index, (prefix, continuation) in enumerate(zip(prefixes, continuations, strict=True)):
                assert len(prefix) > 0, "a prefix has one token or more"
                if len(continuation) > 0:
                    asked[self.engine.add((*prefix, *continuation), params, self.adapter)] = index
            while asked:
                for output in self.engine.outputs(asked):
                    index = asked.pop(output.request_id)
                    scored = zip(output.prompt_token_ids, output.prompt_logprobs, strict=True)
                    # Nothing predicts the first token, so its entry is None; it is part of the prefix.
                    results[index] = [scores[token].logprob for token, scores in list(scored)[len(prefixes[index]) :]]
                    self.count(output)
        finally:
            self.engine.drop(list(asked))
        return results

    def forget(self) -> None:
        self.engine.forget()
