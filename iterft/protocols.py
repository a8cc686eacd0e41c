"""The seams: what can be plugged in. Each has its implementations in one plural folder; only `build` names them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from iterft.types import (
    Checkpoint,
    Completion,
    Experience,
    Message,
    PartialTurn,
    Prompt,
    Request,
    Reward,
    Sample,
    Tool,
    Trajectory,
    Tree,
    Turn,
)

Ids = Sequence[int]


class PolicyFailure(RuntimeError):
    """The engine behind a policy died, stalled or gave up; the message says why, and what to do."""


class Policy(Protocol):
    """A model that is asked for turns. Token ids in, token ids out; see `types.Completion`."""

    def render(self, prompt: Prompt) -> tuple[int, ...]:
        """Ids of the prompt up to where the assistant's turn begins (chat template and tools included)."""
        ...

    def encode_turn(self, text: str) -> tuple[int, ...]:
        """Ids of a whole assistant turn in canonical tokenisation, stop token included."""
        ...

    def token_texts(self, ids: Ids) -> list[str]:
        """The text each id adds, so that the concatenation is the decoded whole; the stop token adds ""."""
        ...

    def sample(
        self,
        prefixes: Sequence[Ids],
        num_samples: Sequence[int],
        temperature: float,
        seeds: Sequence[int],
        advance: Callable[[int], None] = ...,
        refute: Callable[[int, Ids], bool] | None = None,
    ) -> list[list[Completion]]:
        """[P][N] continuations to the end of the turn. A prefix may end inside a turn. Sample n of prefix p draws from
        a generator seeded by (seeds[p], n) alone, so results do not depend on the batch. Temperature 0 is greedy.
        `advance(k)` is told of every k prefixes that are done. `refute(p, ids)` is asked after every token of a
        continuation of prefix p; where it says True, the continuation ends there."""
        ...

    def stream(self, requests: deque[Request], temperature: float) -> Iterator[tuple[Request, list[Completion]]]:
        """Takes requests out of the queue and yields each with its completions once all of them have ended, in whatever
        order that happens. The caller may append requests between two results. Ends when there is none left; closing
        it drops what is under way. A completion is what `sample` would give."""
        ...

    def logprob(self, prefixes: Sequence[Ids], continuations: Sequence[Ids]) -> list[list[float]]:
        """[P] lists of per-token log-probs (temperature 1) of each continuation given its prefix."""
        ...

    def forget(self) -> None:
        """Drops what is kept from earlier calls (KV): later results then depend, to the last bit, on later calls
        only."""
        ...


class Environment(Protocol):
    """The world behind the tools. States are values: `step` returns a new one, never mutates, so branching is free."""

    def reset(self, sample: Sample) -> Trajectory: ...

    def step(self, state: Trajectory, action: Turn) -> tuple[Trajectory, tuple[str, ...], bool]:
        """(new state, observations, done) after the assistant took `action`."""
        ...


class Verifier(Protocol):
    """Judges what was done on a sample."""

    def __call__(self, trajectory: Trajectory) -> Reward: ...

    def explain(self, trajectory: Trajectory) -> str:
        """One sentence for people on why the last turn fails; "" when it passes."""
        ...

    def objection(self, sample: Sample, partial: PartialTurn) -> str:
        """ "" while some accepted answer still continues `partial`, else the named reason (`types.REASONS`)."""
        ...


class Grader(Protocol):
    """Says how good it thinks turns are, without a reference."""

    def __call__(self, samples: Sequence[Sample], turns: Sequence[str]) -> list[float]:
        """A grade in [0, 1] for the text of each sample's turn."""
        ...


class ChatFault(ValueError):
    """Why one request to a chat model came to nothing: a reason to count by and a detail for people. Others may fare
    better; what no request would survive is a plain ValueError instead."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class ChatModel(Protocol):
    """A model that is talked to in text, as teachers and judges are. It gives no ids and no log-probs: no policy."""

    @property
    def name(self) -> str:
        """Which model answers; other weights, another name."""
        ...

    @property
    def concurrency(self) -> int:
        """How many threads may profitably be in `chat` at a time."""
        ...

    def chat(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), schema: Mapping[str, Any] | None = None
    ) -> Message:
        """The assistant's message, with `content` and, where it calls `tools`, `tool_calls`. With a JSON `schema` its
        content is JSON that fits it. ChatFault when this request came to nothing."""
        ...


class Stage(Protocol):
    """One update of the weights: a checkpoint and experience in, a new checkpoint in folder `out`."""

    def __call__(self, checkpoint: Checkpoint, experience: Experience, out: Path) -> Checkpoint: ...


class Serve(Protocol):
    """Brings a checkpoint up as a policy; leaving the context frees what it held."""

    def __call__(self, checkpoint: Checkpoint) -> AbstractContextManager[Policy]: ...


class TreeJournal(Protocol):
    """Where a search keeps its finished trees, so that a killed one can go on."""

    def read(self) -> dict[str, Tree]: ...

    def append(self, tree: Tree) -> None: ...
