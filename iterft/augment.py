"""More samples that need no call or several, made from those at hand.

Tool-calling data often holds few of either; a model tuned on it then calls always and miscounts parallel calls
(ToolACE, section 4: without such data irrelevance falls to 7 %). Not here: wording that is new (`synth`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from iterft.types import Prompt, Sample, Tool

MAX_TOOLS = 8
"""Two samples are joined only while their tools together are no more than this."""

REPLIES = (
    "None of the tools at hand can do this.",
    "I have no tool that fits this request.",
    "I'm sorry, but my tools do not cover that.",
    "That is beyond what my tools can do.",
)
CONNECTIVES = (" Also, ", " And then: ", " Besides, ", "\nOne more thing: ", " ")


def augment(samples: Sequence[Sample], no_call_share: float, parallel_share: float, seed: int) -> list[Sample]:
    """`samples` with so many made ones among them that each sort makes up its share of the whole, as far as the samples
    allow (what they hold of that sort already is not counted). ValueError when the shares leave no room for them."""
    if no_call_share + parallel_share >= 1:
        raise ValueError(
            f"data.no_call_share, data.parallel_share: must add up to less than 1, but are {no_call_share} and "
            f"{parallel_share}"
        )
    rng = random.Random(seed)
    total = len(samples) / (1 - no_call_share - parallel_share)
    made = [
        *without_right_tools(samples, round(total * no_call_share), rng),
        *joined(samples, round(total * parallel_share), rng),
    ]
    mixed = [*samples, *made]
    rng.shuffle(mixed)
    return mixed


def without_right_tools(samples: Sequence[Sample], num_samples: int, rng: random.Random) -> list[Sample]:
    """Samples whose right tools are taken out of the list; tools of other samples stand in where none would be left."""
    candidates = [sample for sample in samples if sample.answer]
    rng.shuffle(candidates)
    made = []
    for sample in candidates[:num_samples]:
        used = {call.name for call in sample.answer}
        left: list[Tool] = [tool for tool in sample.prompt.tools if tool["name"] not in used]
        for _ in range(8):
            if left:
                break
            others = rng.choice(samples).prompt.tools
            left = [tool for tool in others if tool["name"] not in used]
        if left:
            made.append(
                replace(
                    sample,
                    id=f"{sample.id}+taken_away",
                    prompt=replace(sample.prompt, tools=tuple(left)),
                    answer=(),
                    text=rng.choice(REPLIES),
                    kind="",
                )
            )
    return made


def joined(samples: Sequence[Sample], num_samples: int, rng: random.Random) -> list[Sample]:
    """Two requests in one message, the tools of both shuffled, the calls of both in order."""
    askable = [sample for sample in samples if sample.answer and is_single_request(sample.prompt)]
    made: dict[str, Sample] = {}
    for _ in range(4 * num_samples if len(askable) > 1 else 0):
        if len(made) == num_samples:
            break
        first, second = rng.sample(askable, 2)
        tools = merged_tools(first.prompt.tools, second.prompt.tools)
        if tools is None or len(tools) > MAX_TOOLS:
            continue
        rng.shuffle(tools)
        name = f"{first.id}+{second.id}"
        request = first.prompt.messages[-1]["content"] + rng.choice(CONNECTIVES) + second.prompt.messages[-1]["content"]
        made[name] = replace(
            first,
            id=name,
            prompt=Prompt(({"role": "user", "content": request},), tuple(tools)),
            answer=first.answer + second.answer,
            text="",
            kind="",
        )
    return list(made.values())


def is_single_request(prompt: Prompt) -> bool:
    (*before, last) = prompt.messages
    return not before and last["role"] == "user" and bool(last.get("content"))


def merged_tools(first: Sequence[Tool], second: Sequence[Tool]) -> list[Tool] | None:
    """The tools of both, each once; None when two different ones have one name."""
    by_name = {tool["name"]: tool for tool in first}
    for tool in second:
        if by_name.setdefault(tool["name"], tool) != tool:
            return None
    return list(by_name.values())
