"""The shared nouns: what a sample, a completion, a tree and a pair *are*. No behaviour beyond small derived facts.

All rewards, values and Q lie in [0, 1]. Everything is frozen except `Node` and `Tree`, which a search grows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Message = Mapping[str, Any]
"""One chat message: role, content, and for the assistant optionally `tool_calls` = [{"name", "arguments"}]."""

Tool = Mapping[str, Any]
"""One tool: name, description, parameters (a JSON schema of type "object")."""

BFCL = "bfcl"
"""The source of BFCL's items, which are judged by BFCL's own rules."""

REASONS = (
    "unparsable",
    "unneeded_call",
    "no_call",
    "unknown_tool",
    "wrong_tool",
    "missing_call",
    "extra_call",
    "missing_parameter",
    "unknown_parameter",
    "wrong_type",
    "wrong_value",
)
"""Every way in which a turn can fail its verification. A passing turn has the reason ""."""


@dataclass(frozen=True)
class ToolCall:
    """One call. In `Sample.answer` each argument holds the *list of accepted alternatives* instead of one value."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Prompt:
    """What the policy sees before its turn."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]


@dataclass(frozen=True)
class Sample:
    """A prompt and what a right next turn is.

    `answer` follows the form BFCL publishes: one entry per call, each argument a list of accepted values; "" in that
    list means that the argument may be left out; values inside an accepted object are lists of alternatives again.
    The first alternative is the reference, which is what is learnt: "" in front of others leaves the argument out, ""
    behind them writes it; "" alone is the empty text. An empty `answer` means that no call is right; `text` then holds
    a reply in prose. `thought`: what the think part of a right turn may say, "" where that is not known.
    """

    id: str
    prompt: Prompt
    answer: tuple[ToolCall, ...]
    text: str = ""
    source: str = ""
    kind: str = ""
    env_config: Mapping[str, Any] = field(default_factory=dict)
    thought: str = ""


@dataclass(frozen=True)
class Turn:
    """One assistant turn, parsed. `error` is "" or says why the text is no well-formed turn (then `calls` is empty).
    `thought`: what its think part says, None where it has none."""

    content: str
    calls: tuple[ToolCall, ...] = ()
    error: str = ""
    thought: str | None = None


@dataclass(frozen=True)
class PartialTurn:
    """What is settled about a turn of which only a prefix has been written.

    calls            calls that are closed
    in_call          a call has been opened and not closed
    open_name        its tool name, once the name is complete
    open_arguments   its arguments whose values are complete
    expects          what the text forces next: another "argument" of the open call (a comma was written), another
                     "call", or "" when the writer is still free to close
    open_list        a dialect that writes its calls as one list has opened it and not closed it
    no_more_calls    whatever follows, there will be no further call
    content          prose outside calls
    undecided        text at the end of which it is open whether it is prose or not: the beginning of a call's opening
                     ("<tool_", "[get_wea"), or of a think part that is not closed
    error            "" or why no continuation can make this a well-formed turn
    finished         the turn has ended (stop token), nothing follows
    thought          what the think part says, once it is closed; None before, and where there is none
    """

    calls: tuple[ToolCall, ...] = ()
    in_call: bool = False
    open_name: str | None = None
    open_arguments: Mapping[str, Any] = field(default_factory=dict)
    expects: Literal["", "argument", "call"] = ""
    open_list: bool = False
    no_more_calls: bool = False
    content: str = ""
    undecided: str = ""
    error: str = ""
    finished: bool = False
    thought: str | None = None


FinishReason = Literal["stop", "length", "refuted"]


@dataclass(frozen=True, eq=False)
class Request:
    """What a policy is asked for: `num_samples` (1 or more) continuations of `prefix` to the end of the turn, inside of
    which it may end. Continuation n draws from a generator seeded by (seed, n) alone. `refute(ids)` is asked after
    every token but the stop token of a continuation; where it says True, the continuation ends there."""

    prefix: tuple[int, ...]
    num_samples: int
    seed: int
    refute: Callable[[Sequence[int]], bool] | None = None


@dataclass(frozen=True)
class Completion:
    """One sampled assistant turn, or the rest of one: exactly the ids that were sampled.

    `logprobs` are those of the untempered policy (temperature 1), one per id; where a grammar narrowed what could be
    sampled, still those among all tokens. `ids` include the stop token when
    `finish_reason` is "stop"; "length" means that the token budget ran out first, "refuted" that whoever asked for the
    turn ended it, as nothing it could still become was acceptable.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason


@dataclass(frozen=True)
class Step:
    """A span of a turn between two structural boundaries: the unit the search branches on."""

    kind: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class Trajectory:
    """The assistant turns taken on a sample so far and what the environment answered to each."""

    sample: Sample
    turns: tuple[Turn, ...] = ()
    observations: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Reward:
    """A verdict: `value` in [0, 1], the named `reason` when it is not 1."""

    value: float
    reason: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Checked:
    """A sample as the deficiency check found it: perplexity of its reference turn, share of the sampled turns that
    passed, named reasons of the failures, and the turns themselves (the search starts from them). `references`: the
    reference turn and, of one of several calls, its beginnings, as the policy would have said them."""

    sample: Sample
    perplexity: float
    pass_rate: float
    reasons: Mapping[str, int]
    completions: tuple[Completion, ...]
    references: tuple[Completion, ...]


@dataclass(frozen=True)
class Standing:
    """What earlier iterations know of a sample: how often it was checked, how many checks in a row had no success, and
    the pass rate of the last."""

    checks: int = 0
    fruitless: int = 0
    pass_rate: float = 0.0


@dataclass(frozen=True)
class Check:
    """The outcome of a deficiency check: the `weak` samples, those from which most can be learnt first; the `mastered`
    ones, all of whose turns passed; the standings after it, by sample id; and the in-batch `negatives` (`negatives`),
    mastered or not."""

    weak: tuple[Checked, ...]
    mastered: tuple[Checked, ...]
    history: Mapping[str, Standing]
    negatives: tuple[Checked, ...] = ()


@dataclass(slots=True)
class Node:
    """A step below its parent. Mutable: the search counts visits and sums values in place.

    `prior` is exp(mean log-prob) of the step; `objection` is "" while the turn so far is compatible with an accepted
    answer, else the named reason; `reward` is set on terminal nodes only; `planted` marks reference steps that were
    not sampled; `exhausted` nodes need no further look; `expansions` counts the continuations sampled right here;
    `grade` is what a grader says of the turn, on terminal nodes, if there is one.
    """

    parent: int
    step: Step
    prior: float
    visits: int = 0
    value_sum: float = 0.0
    objection: str = ""
    reward: float | None = None
    planted: bool = False
    exhausted: bool = False
    expansions: int = 0
    grade: float | None = None
    children: list[int] = field(default_factory=list)

    @property
    def value(self) -> float:
        """Mean backed-up reward (with a grader, of reward and grade), 0 before the first visit."""
        return self.value_sum / self.visits if self.visits else 0.0


@dataclass(slots=True)
class Tree:
    """All that one search found out about one sample. Flat: nodes refer to each other by index; node 0 is the root.
    `needs_call`: whether some call is right."""

    sample_id: str
    prompt_ids: tuple[int, ...]
    nodes: list[Node]
    simulations: int = 0
    sampled_tokens: int = 0
    needs_call: bool = True

    def path_ids(self, index: int) -> tuple[int, ...]:
        """Ids of the turn from its beginning to the end of node `index`."""
        spans: list[tuple[int, ...]] = []
        while index > 0:
            spans.append(self.nodes[index].step.ids)
            index = self.nodes[index].parent
        return tuple(token for span in reversed(spans) for token in span)


@dataclass(frozen=True)
class PreferencePair:
    """Two continuations of the same ids of which one is right and the other holds the first error.

    `prompt_ids` = prompt plus the turn up to where the siblings part. `margin` = value(chosen) - value(rejected).
    `reason` names the error in the rejected side. `planted`: the chosen side holds steps of the reference that were not
    sampled. A pair without a rejected side (log-prob 0) is an anchor: it holds a right turn as a whole.
    `chosen_logprob`, `rejected_logprob`: summed log-probs of the sides under the policy that was searched, which is the
    reference policy of the update. `smoothing`: visits(rejected) / visits(both), at most 1/2; how often the search went
    the other way.
    """

    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    margin: float
    reason: str
    sample_id: str
    chosen_logprob: float
    rejected_logprob: float
    planted: bool = False
    smoothing: float = 0.0


@dataclass(frozen=True)
class Experience:
    """What an update may learn from: samples (those that were searched, if any were), the pairs mined from their trees,
    and the seed of what it draws by itself."""

    samples: tuple[Sample, ...]
    pairs: tuple[PreferencePair, ...]
    seed: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """A policy's weights as a folder: base reference + adapter, or full weights. `path` None = the untouched base."""

    path: Path | None
