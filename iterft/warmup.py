"""Step 0: the easy-to-hard curriculum (iTool, section 3.1).

A sample's tier follows from candidate tools, length of the tool list in characters, and calls in the answer.
The thresholds are settings; iTool's own are 4 tools, 2,000 characters, 4 calls for hard and 1, 1,000, 1 for easy.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence

from iterft.config import TierSettings, WarmupSettings
from iterft.data import by_tool_list, collector_paused, in_blocks
from iterft.types import Sample, Tool

TIERS = ("easy", "medium", "hard")


@collector_paused()
def tiers_of(samples: Sequence[Sample], tiers: TierSettings) -> dict[str, str]:
    """Sample id -> tier. Each tool is measured once, however many lists show it."""
    found = {}
    measured: dict[tuple[str, str], list[tuple[Tool, int]]] = {}
    for group in by_tool_list(samples):
        tools = group[0].prompt.tools
        characters = sum(num_characters(tool, measured) for tool in tools)
        for sample in group:
            found[sample.id] = tier_by_size(len(tools), characters, len(sample.answer), tiers)
    return found


def num_characters(tool: Tool, measured: dict[tuple[str, str], list[tuple[Tool, int]]]) -> int:
    """Length of the tool in JSON. `measured`: what is known already, by name and description; is added to."""
    alike = measured.setdefault((tool["name"], str(tool.get("description"))), [])
    for other, characters in alike:
        if other == tool:
            return characters
    alike.append((tool, len(json.dumps(tool, ensure_ascii=False))))
    return alike[-1][1]


def tier_by_size(num_tools: int, characters: int, num_calls: int, tiers: TierSettings) -> str:
    if (
        num_tools >= tiers.hard_num_tools
        or characters >= tiers.hard_tool_characters
        or num_calls >= tiers.hard_num_calls
    ):
        return "hard"
    easy = (
        num_tools <= tiers.easy_num_tools
        and characters <= tiers.easy_tool_characters
        and num_calls <= tiers.easy_num_calls
    )
    return "easy" if easy else "medium"


def easy_to_hard(samples: Sequence[Sample], settings: WarmupSettings, seed: int) -> list[Sample]:
    """All samples, each once, in the order of `settings.curriculum`; shuffled within a phase, see `in_blocks`.

    A phase per tier. In "baby_steps" (Spitkovsky et al. 2010; here without repeats) an easy sample is as likely in each
    phase, a medium one in the last two: so the last phase, after which nothing sets a habit right, knows all of them.
    """
    phases: list[list[Sample]] = [[] for _ in TIERS]
    tier_by_id = tiers_of(samples, settings.tiers)
    for rank, tier in enumerate(TIERS):
        members = [sample for sample in samples if tier_by_id[sample.id] == tier]
        if settings.curriculum == "baby_steps":
            members = in_blocks(members)  # dealt out by stretches, so that samples of one list stay together
        open_to = {"one_pass": phases[rank : rank + 1], "baby_steps": phases[rank:], "none": phases[:1]}
        chosen = open_to[settings.curriculum]
        for place, phase in enumerate(chosen):
            phase.extend(members[len(members) * place // len(chosen) : len(members) * (place + 1) // len(chosen)])
    ordered: list[Sample] = []
    for tier, phase in zip(TIERS, phases, strict=True):
        random.Random(f"{seed} {tier}").shuffle(phase)
        ordered.extend(in_blocks(phase))
    return ordered


def learnt_part(
    sample: Sample, turn_ids: Sequence[int], num_prose_tokens: int, num_thought_tokens: int = 0
) -> tuple[int, ...]:
    """What is trained on of a reference turn: calls whole, of plain words the beginning; the think part, the first
    `num_thought_tokens`, always."""
    return tuple(turn_ids if sample.answer else turn_ids[: num_thought_tokens + num_prose_tokens])


def tier_table(samples: Sequence[Sample], tiers: TierSettings) -> dict[str, dict[str, int]]:
    """source -> tier -> number of samples."""
    tier_by_id = tiers_of(samples, tiers)
    counts = Counter((sample.source, tier_by_id[sample.id]) for sample in samples)
    sources = sorted({sample.source for sample in samples})
    return {source: {tier: counts[source, tier] for tier in TIERS} for source in sources}
