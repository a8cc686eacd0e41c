"""A policy grades turns by the probabilities it gives to the options A to D (iTool, arXiv 2501.09766, section 3.2).

The grader is a checkpoint that stays the same over a run, so that grades of different iterations compare. It is not
shown the reference. Used beside a verifier, with the weight `search.self_weight`; pairs still part by the verifier.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from iterft.protocols import Policy
from iterft.tool_list import describe_tools
from iterft.types import Message, Prompt, Sample

GRADES = {"A": 1.0, "B": 0.7, "C": 1 / 3, "D": 0.0}
"""iTool's released code weighs the options 1.0, 0.1, -1.0 and -2.0; these are the same, moved into [0, 1]."""

OPTIONS = (
    "A: right in every respect\nB: the right idea, with a small mistake\nC: a serious mistake\nD: useless, or harmful\n"
)


class SelfJudge:
    """`protocols.Grader`."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.options = [policy.encode_turn(option)[:-1] for option in GRADES]

    def __call__(self, samples: Sequence[Sample], turns: Sequence[str]) -> list[float]:
        prompts = [self.policy.render(question(sample, turn)) for sample, turn in zip(samples, turns, strict=True)]
        scores = self.policy.logprob(
            [prompt for prompt in prompts for _ in self.options], [option for _ in prompts for option in self.options]
        )
        self.policy.forget()  # nothing grows from these prompts
        sums = [sum(score) for score in scores]
        return [grade(sums[at : at + len(GRADES)]) for at in range(0, len(sums), len(GRADES))]


def grade(logprobs: Sequence[float]) -> float:
    """The expected grade under the options' log-probs, normalised among themselves."""
    highest = max(logprobs)
    weights = [math.exp(logprob - highest) for logprob in logprobs]
    return sum(weight * value for weight, value in zip(weights, GRADES.values(), strict=True)) / sum(weights)


def question(sample: Sample, turn: str) -> Prompt:
    """What the grader is asked about the assistant's `turn`."""
    content = (
        "Grade the last reply of an assistant that may call tools.\n\n"
        f"Tools:\n{describe_tools(sample.prompt.tools) or 'none'}\n\n"
        "Conversation:\n" + "\n".join(map(line_of, sample.prompt.messages)) + "\n\n"
        f"Reply:\n{turn}\n\n"
        f"Options:\n{OPTIONS}\nAnswer with one letter."
    )
    return Prompt(({"role": "user", "content": content},), ())


def line_of(message: Message) -> str:
    calls = message.get("tool_calls")
    shown = [message.get("content") or "", json.dumps([dict(call) for call in calls]) if calls else ""]
    return f"{message['role']}: {' '.join(filter(None, shown))}"
