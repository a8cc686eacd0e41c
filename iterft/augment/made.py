"""More samples that need no call or several, made from those at hand.

Tool-calling data often holds few of either; a model tuned on it then calls always and miscounts parallel calls
(ToolACE, section 4: without such data irrelevance falls to 7 %). Not here: wording that is new (`synth`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from iterft.augment.pool import ToolPool, unrelated_tools
from iterft.types import Prompt, Sample, Tool

MAX_TOOLS = 8
"""Two samples are joined only while their tools together are no more than this."""
MAX_STAND_INS = 3

REPLIES = (
    "None of the tools at hand can do this.",
    "I have no tool that fits this request.",
    "I'm sorry, but my tools do not cover that.",
    "That is beyond what my tools can do.",
)
NO_TOOL_FITS = "no tool fits"
CONNECTIVES = (" Also, ", " And then: ", " Besides, ", "\nOne more thing: ", " ")

Taken = Mapping[str, Sequence[Tool]]
"""Id of a made sample -> the right tools that were taken out of its list."""


def without_right_tools(
    samples: Sequence[Sample], num_samples: int, pool: ToolPool, rng: random.Random
) -> tuple[list[Sample], Taken]:
    """Samples whose right tools are taken out of the list, and which these were. Where no tool would be left, unrelated
    ones of the pool stand in. Only of samples in which the assistant has not spoken: it would have asked for a value,
    or made a call, that its tools have no use for."""
    candidates = [sample for sample in samples if sample.answer and not is_under_way(sample.prompt)]
    rng.shuffle(candidates)
    made: list[Sample] = []
    taken: dict[str, list[Tool]] = {}
    for sample in candidates:
        if len(made) == num_samples:
            break
        used = {call.name for call in sample.answer}
        right = [tool for tool in sample.prompt.tools if tool["name"] in used]
        others = [tool for tool in sample.prompt.tools if tool["name"] not in used]
        left = [tool for tool in others if not any(pool.is_alike(tool, gone) for gone in right)]  # it might do as well
        left = left or unrelated_tools(pool, sample, right, rng.randint(1, MAX_STAND_INS), rng)
        if left:
            name = f"{sample.id}+taken_away"
            made.append(where_none_fits(sample, name, left, rng.choice(REPLIES)))
            taken[name] = right
    return made, taken


def where_none_fits(sample: Sample, name: str, tools: Sequence[Tool], reply: str) -> Sample:
    """The request of `sample` with other tools, none of which fits."""
    prompt = replace(sample.prompt, tools=tuple(tools))
    thought = NO_TOOL_FITS if sample.thought else ""
    return replace(sample, id=name, prompt=prompt, answer=(), text=reply, kind="", thought=thought)


def joined(samples: Sequence[Sample], num_samples: int, pool: ToolPool, rng: random.Random) -> list[Sample]:
    """Two requests in one message, the tools of both shuffled, the calls of both in order. Never two that ask for the
    same call, nor where a tool that one of them shows could do what the other asks for."""
    askable = [sample for sample in samples if sample.answer and is_single_request(sample.prompt)]
    made: dict[str, Sample] = {}
    for _ in range(4 * num_samples if len(askable) > 1 else 0):
        if len(made) == num_samples:
            break
        first, second = rng.sample(askable, 2)
        tools = merged_tools(first.prompt.tools, second.prompt.tools)
        if tools is None or len(tools) > MAX_TOOLS or any(call in second.answer for call in first.answer):
            continue
        if has_rival(first, second, pool) or has_rival(second, first, pool):
            continue
        rng.shuffle(tools)
        name = f"{first.id}+{second.id}+joined"
        request = first.prompt.messages[-1]["content"] + rng.choice(CONNECTIVES) + second.prompt.messages[-1]["content"]
        made[name] = replace(
            first,
            id=name,
            prompt=Prompt(({"role": "user", "content": request},), tuple(tools)),
            answer=first.answer + second.answer,
            text="",
            kind="",
            thought=f"{first.thought}\n{second.thought}" if first.thought and second.thought else "",
        )
    return list(made.values())


def has_rival(sample: Sample, other: Sample, pool: ToolPool) -> bool:
    """Whether a tool that comes with `other` could stand in for a right one of `sample`."""
    own = {tool["name"] for tool in sample.prompt.tools}
    used = {call.name for call in sample.answer}
    right = [tool for tool in sample.prompt.tools if tool["name"] in used]
    new = [tool for tool in other.prompt.tools if tool["name"] not in own]
    return any(pool.is_alike(one, tool) for one in right for tool in new)


def is_under_way(prompt: Prompt) -> bool:
    return any(message["role"] == "assistant" for message in prompt.messages)


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
