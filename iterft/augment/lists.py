"""Longer and reordered lists of tools: what is asked for and what is right stay as they are.

A group is changed as one. Where a distractor could be right by accident:

- Next to a request that needs a call it must not be alike to a right tool (`is_alike`), or a call of it would be held
  for wrong without being so.
- A request that needs no call is the harder case: any tool that fits makes the reference wrong, and no label tells
  which tools fit. So for such a group near tools are not sought, and what is drawn must not share a word with what is
  asked or with a right tool taken away (`ToolPool.is_unrelated`). Words are no proof: synonyms slip through.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import chain

from iterft.augment.made import Taken
from iterft.augment.pool import ToolPool, asked_words
from iterft.data import called
from iterft.types import Sample, Tool


@dataclass(frozen=True)
class ToolGroup:
    """Samples that show the same tools, and the list that they are to show instead. `changes`: what is added to ids."""

    samples: list[Sample]
    tools: tuple[Tool, ...]
    changes: str = ""


def distracted(
    group: ToolGroup, pool: ToolPool, taken: Taken, max_distractors: int, near_share: float, rng: random.Random
) -> ToolGroup | None:
    """The group with one to `max_distractors` more tools at random places of its list; the others keep their order.
    `near_share` of them share words with a tool of the list, where such can be found. No name occurs twice, nor one
    that was called before. None when the list is empty or the pool holds nothing for it."""
    if not group.tools:
        return None
    no_call = [sample for sample in group.samples if not sample.answer]
    asked = asked_words(no_call, [tool for sample in no_call for tool in taken.get(sample.id, ())]) if no_call else None
    right_names = {call.name for sample in group.samples for call in sample.answer}
    right = [tool for tool in group.tools if tool["name"] in right_names]
    names = {tool["name"] for tool in group.tools} | {name for sample in group.samples for name in called(sample)}
    used = set(map(pool.bare, names))
    longer = list(group.tools)
    for _ in range(rng.randint(1, max_distractors)):
        is_near = rng.random() < near_share and not no_call
        near = pool.near_tools(rng.choice(group.tools), rng) if is_near else []
        for tool in chain(near, pool.random_tools(rng)):
            name = pool.bare(tool["name"])
            if name in used or any(pool.is_alike(tool, other) for other in right):
                continue
            if asked is None or pool.is_unrelated(tool, asked):
                used.add(name)
                longer.insert(rng.randint(0, len(longer)), tool)
                break
    if len(longer) == len(group.tools):
        return None
    return replace(group, tools=tuple(longer), changes=f"{group.changes}+distracted")


def shuffled(group: ToolGroup, rng: random.Random) -> ToolGroup | None:
    """The group with its tools in another order; None when there is none."""
    tools = list(group.tools)
    rng.shuffle(tools)
    order = tuple(tools) if tuple(tools) != group.tools else group.tools[::-1]
    return None if order == group.tools else replace(group, tools=order, changes=f"{group.changes}+shuffled")
