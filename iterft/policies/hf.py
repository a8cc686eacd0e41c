"""A policy on transformers, decoded by our engine: token ids in, token ids out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from iterft.config import PolicySettings
from iterft.engine.constrained import Grammars
from iterft.engine.decoders import decoder_of
from iterft.engine.decoding import Decoded, Fork, Refute
from iterft.policies.at_once import at_once
from iterft.template import Template
from iterft.tokens import encode_turn, render_prompt, token_texts
from iterft.types import Completion, Prompt, Request, Tool


class HfPolicy:
    """Holds the model in memory until it is dropped. See `protocols.Policy` for the contract.

    `constrained`: what it samples fits the grammar of the prompt's tools (`Dialect.grammar`). Prefixes must then begin
    with a prompt that it has rendered. Log-probs stay those of the policy as it is without a grammar."""

    def __init__(
        self,
        model: Any,
        template: Template,
        settings: PolicySettings,
        *,
        share_prefixes: bool = True,
        constrained: bool = False,
    ) -> None:
        self.template = template
        self.tokenizer = template.tokenizer
        self.settings = settings
        self.stop_id: int = template.tokenizer.eos_token_id
        self.decoder = decoder_of(
            model,
            self.stop_id,
            settings.kv_cache_gib,
            settings.max_rows,
            share_prefixes=share_prefixes,
            other_stops=template.other_stops,
        )
        vocab_size = model.config.get_text_config().vocab_size
        self.grammars = Grammars(self.tokenizer, vocab_size, self.stop_id) if constrained else None
        self.prompts: dict[tuple[int, ...], tuple[Tool, ...]] = {}
        self.lengths: set[int] = set()

    def render(self, prompt: Prompt) -> tuple[int, ...]:
        ids = render_prompt(self.template, prompt)
        self.prompts[ids] = prompt.tools
        self.lengths.add(len(ids))
        return ids

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
        forks: deque[Fork] = deque()
        asked: dict[Fork, Request] = {}
        results = self.decoder.stream(forks, temperature, self.settings.max_new_tokens)
        while True:
            while requests:
                request = requests.popleft()
                fork = self.fork(request.prefix, request.num_samples, request.seed, request.refute)
                asked[fork] = request
                forks.append(fork)
            found = next(results, None)
            if found is None:
                return
            fork, rows = found
            yield asked.pop(fork), [completion(row) for row in rows]

    def logprob(self, prefixes: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> list[list[float]]:
        parts = [self.split(tuple(prefix)) for prefix in prefixes]
        full = [(*extra, *continuation) for (_, extra), continuation in zip(parts, continuations, strict=True)]
        scores = self.decoder.logprob([prompt for prompt, _ in parts], full)
        return [score[len(extra) :] for score, (_, extra) in zip(scores, parts, strict=True)]

    def forget(self) -> None:
        self.decoder.forget()

    def fork(self, prefix: tuple[int, ...], num_samples: int, seed: int, refute: Refute | None) -> Fork:
        prompt, extra = self.split(prefix)
        matcher = None
        if self.grammars is not None:
            if prompt not in self.prompts:
                raise ValueError(
                    "a constrained policy goes on from prompts that it has rendered: it has to know the tools"
                )
            matcher = self.grammars.matcher(self.template.dialect.grammar(self.prompts[prompt]), extra)
        return Fork(prompt, extra, num_samples, seed, refute, matcher)

    def split(self, prefix: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(a prompt that was rendered, what was written after it): the prompt's KV is kept and shared."""
        if prefix in self.prompts:
            return prefix, ()
        for at in sorted((length for length in self.lengths if length < len(prefix)), reverse=True):
            if prefix[:at] in self.prompts:
                return prefix[:at], prefix[at:]
        return prefix, ()


def completion(row: Decoded) -> Completion:
    return Completion(row.ids, row.logprobs, "stop" if row.stopped else "refuted" if row.refuted else "length")
