"""Augmentation of the train part at load time: more samples, and harder lists of tools. Never applied to held-out ones.

Two sorts of samples are made besides those at hand (`made`): the right tools taken away, two requests joined. Then the
lists of tools are changed (`lists`, `mask`): distractors, another order, names that say nothing. These happen list by
list: samples that show the same tools go on showing the same, so that prompts keep their common prefix. At most
`data.queries_per_list` of them do, else data with one list of tools would see it changed in one way only. What the user
said last is changed sample by sample: a value reworded (`reworded`), typing errors (`typos`).

Whatever was changed says so in its id. A share is met as closely as whole lists allow. The same seed makes the same
samples, and each step draws from its own generator, so that one setting does not change what another one draws.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from iterft.augment.lists import ToolGroup, distracted, shuffled
from iterft.augment.made import joined, without_right_tools
from iterft.augment.mask import masked
from iterft.augment.pool import ToolPool
from iterft.augment.request import Edit, request_of, with_edits
from iterft.augment.reworded import rewording
from iterft.augment.typos import typos, words_known
from iterft.config import DataSettings
from iterft.data import by_tool_list, collector_paused
from iterft.types import Prompt, Sample

Change = Callable[[ToolGroup, random.Random], ToolGroup | None]
"""The same samples in the same order with other tools; None where that cannot be."""
Respell = Callable[[Sample, str, random.Random], Sequence[Edit]]
"""What to change in the words that the user said last; nothing where that cannot be."""

CHANGES = ("taken_away", "joined", "distracted", "shuffled", "masked", "reworded", "typos")


@collector_paused()
def augment(samples: Sequence[Sample], settings: DataSettings, pool: ToolPool, seed: int) -> list[Sample]:
    """`samples` with made ones among them, so many that each sort makes up its share of the whole as far as the samples
    allow (what they hold of that sort already is not counted), and with changed lists of tools and changed words of the
    user in the shares asked for.
    Ids must be distinct and stay so. ValueError when the shares of made samples leave no room for the others."""
    no_call_share, parallel_share = settings.no_call_share, settings.parallel_share
    if no_call_share + parallel_share >= 1:
        raise ValueError(
            f"data.no_call_share, data.parallel_share: must add up to less than 1, but are {no_call_share} and "
            f"{parallel_share}"
        )
    total = len(samples) / (1 - no_call_share - parallel_share)
    no_call, taken = without_right_tools(samples, round(total * no_call_share), pool, random.Random(f"{seed} no call"))
    parallel = joined(samples, round(total * parallel_share), pool, random.Random(f"{seed} joined"))
    mixed = [*samples, *no_call, *parallel]
    if len(mixed) > len(samples):
        random.Random(f"{seed} mixed").shuffle(mixed)

    def distract(group: ToolGroup, rng: random.Random) -> ToolGroup | None:
        return distracted(group, pool, taken, settings.max_distractors, settings.near_share, rng)

    groups = [part for group in by_tool_list(mixed) for part in cut(group, settings.queries_per_list)]
    results = changed(groups, settings.distractor_share, distract, random.Random(f"{seed} distracted"))
    results = changed(results, settings.shuffled_share, shuffled, random.Random(f"{seed} shuffled"))
    results = changed(results, settings.masked_share, masked, random.Random(f"{seed} masked"))
    by_id = {
        sample.id: result
        for group, after in zip(groups, results, strict=True)
        for sample, result in zip(group.samples, samples_of(after), strict=True)
    }
    # Places are sought in the samples as they were: masks hide which words name a flag.
    known = words_known(samples) if settings.typo_share else frozenset[str]()
    respelt = {
        "+reworded": respelled(mixed, settings.reworded_share, rewording, random.Random(f"{seed} reworded")),
        "+typos": respelled(mixed, settings.typo_share, partial(typos, known), random.Random(f"{seed} typos")),
    }
    return [
        with_edits(by_id[sample.id], {change: edits.get(sample.id, ()) for change, edits in respelt.items()})
        for sample in mixed
    ]


def changes_in(samples: Sequence[Sample]) -> dict[str, int]:
    """How many of the samples were changed in each way, as their ids say."""
    counts = dict.fromkeys(CHANGES, 0)
    for sample in samples:
        name, _, change = sample.id.rpartition("+")
        while change in counts:
            counts[change] += 1
            name, _, change = name.rpartition("+")
    return {change: count for change, count in counts.items() if count}


def cut(samples: list[Sample], size: int) -> list[ToolGroup]:
    """Samples of one list in groups of at most `size`."""
    return [ToolGroup(samples[start : start + size], samples[0].prompt.tools) for start in range(0, len(samples), size)]


def changed(groups: list[ToolGroup], share: float, change: Change, rng: random.Random) -> list[ToolGroup]:
    """The groups, with so many of them changed that these hold `share` of all samples; exact to half a group."""
    results = list(groups)
    room = share * sum(len(group.samples) for group in groups)
    for index in rng.sample(range(len(groups)), len(groups) if share else 0):
        size = len(groups[index].samples)
        if size <= 2 * room and (result := change(groups[index], rng)) is not None:
            results[index] = result
            room -= size
    return results


def samples_of(group: ToolGroup) -> list[Sample]:
    if not group.changes:
        return group.samples
    return [
        replace(sample, id=sample.id + group.changes, prompt=Prompt(sample.prompt.messages, group.tools))
        for sample in group.samples
    ]


def respelled(
    samples: Sequence[Sample], share: float, respell: Respell, rng: random.Random
) -> Mapping[str, Sequence[Edit]]:
    """Id -> the edits of its last request, for so many samples as `share` asks for, as far as there are places."""
    wanted = round(share * len(samples))
    found: dict[str, Sequence[Edit]] = {}
    for index in rng.sample(range(len(samples)), len(samples) if wanted else 0):
        if len(found) == wanted:
            break
        sample = samples[index]
        request = request_of(sample)
        if request and (edits := respell(sample, request, rng)):
            found[sample.id] = edits
    return found
