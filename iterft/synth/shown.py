"""Which tools a draft is shown with, and the messages and the reply that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from iterft.synth import phrasing
from iterft.synth.catalog import ToolSpec
from iterft.synth.drafts import Draft, Pool
from iterft.types import Message

_NUM_CANDIDATES = {1: 13, 2: 20, 3: 23, 4: 19, 5: 11, 6: 7, 7: 4, 8: 3}
_MAX_TOOL_CHARACTERS = 2600  # about 650 tokens
_GROWTH = 1.3
"""So many times more tools a level."""


def candidates(pool: Pool, draft: Draft, random: Random, level: int = 0) -> list[ToolSpec]:
    """The tools that are needed and near misses from the pool, mostly of the same domain, in random order. Above level
    0 there are more of them, and nearer ones; below, fewer and farther."""
    wanted = round(random.choices(list(_NUM_CANDIDATES), list(_NUM_CANDIDATES.values()))[0] * _GROWTH**level)
    most = _MAX_TOOL_CHARACTERS * _GROWTH ** max(0, level)
    asked = asked_tools(draft)
    excluded = excluded_names(draft)
    chosen = list(draft.present)
    size = sum(tool.num_characters for tool in chosen)
    for _ in range(4 * wanted):
        if len(chosen) >= wanted:
            break
        tool = _near_miss(pool, random.choice(asked), random, level) if asked else random.choice(pool.tools)
        grown = size + tool.num_characters
        if tool.name not in excluded and (grown <= most or not chosen):
            chosen.append(tool)
            excluded.add(tool.name)
            size = grown
    if not chosen:
        chosen = [next(tool for tool in pool.tools if tool.name not in excluded)]
    random.shuffle(chosen)
    return chosen


def asked_tools(draft: Draft) -> list[ToolSpec]:
    """The tools that the draft asks for, there or not."""
    return [*draft.present, *([draft.absent] if draft.absent else [])]


def excluded_names(draft: Draft) -> set[str]:
    """Names of the tools that are not to be added: those asked for and their rivals."""
    return {name for tool in asked_tools(draft) for name in (tool.name, *tool.rivals)}


def fits(draft: Draft, shown: Sequence[ToolSpec]) -> bool:
    """Whether the list holds what the draft needs, and nothing that would do in place of another tool."""
    names = {tool.name for tool in shown}
    rivals = {rival for tool in asked_tools(draft) for rival in tool.rivals}
    kept = names.issuperset(tool.name for tool in draft.present)
    return kept and not names & rivals and not (draft.absent and draft.absent.name in names)


def messages_of(draft: Draft) -> tuple[Message, ...]:
    """What the draft's user and assistant say in turn, the user first."""
    return tuple({"role": ("user", "assistant")[turn % 2], "content": text} for turn, text in enumerate(draft.messages))


def reply_of(draft: Draft, tools: Sequence[ToolSpec], random: Random) -> str:
    """What is said instead of a call; "" where a call is right."""
    if draft.calls or draft.text:
        return "" if draft.calls else draft.text
    assert draft.absent, "only a query for an absent tool is refused"
    related = [tool.deed for tool in tools if tool.domain == draft.absent.domain]
    return phrasing.refusal(draft.absent.deed, related, random)


def _near_miss(pool: Pool, tool: ToolSpec, random: Random, level: int) -> ToolSpec:
    nearness = random.random() ** 2**level
    if nearness < 0.55:
        return random.choice(pool.by_cluster.get(tool.cluster, pool.tools))
    if nearness < 0.85:
        return random.choice(pool.by_domain.get(tool.domain, pool.tools))
    return random.choice(pool.tools)
