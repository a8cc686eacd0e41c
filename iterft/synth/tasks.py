"""The built-in tasks: single-turn tool-calling samples from our own tools. Needs no download, no model and no network.

What was taken as a model of difficulty is the feel of real tool-calling queries in open collections (assistants' logs,
operators' dialogues, function-calling sets): most people ask for one thing, in one or two sentences, name values in
their own words, leave options unsaid, and see a handful of related tools. No text of theirs was copied, and nothing
was adjusted to what some policy gets right or wrong.

Shares of the kinds, fixed by what each is there to teach:

    single               0.45  the ordinary case; one in ten of them takes a value from an earlier exchange
    parallel_same        0.13  the same tool 2-4 times: counting calls, elliptical wording
    parallel_different   0.17  2-3 tools at once: finding where one request ends and the next begins
    missing_info         0.08  a required value is not given: ask for it, do not invent it
    no_tool              0.17  no tool fits, or none is needed

So a quarter needs no call: always calling must not pay. `missing_info` is the smaller part of it since people mostly
do say what they want. Not here: what is asked for (`drafts.py`), multi-turn tasks with tool results, samples by models.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Literal

from iterft.synth import phrasing
from iterft.synth.catalog import ToolSpec, load_catalog
from iterft.synth.drafts import DRAFTS, Draft, Pool
from iterft.synth.wording import parse
from iterft.types import Message, Prompt, Sample

Split = Literal["train", "held_out"]

SHARES: Mapping[str, float] = {
    "single": 0.45,
    "parallel_same": 0.13,
    "parallel_different": 0.17,
    "missing_info": 0.08,
    "no_tool": 0.17,
}
HELD_OUT_SHARE = 0.25
"""Of the tools: enough for a varied test, while three quarters remain to train on."""

_NUM_CANDIDATES = {1: 13, 2: 20, 3: 23, 4: 19, 5: 11, 6: 7, 7: 4, 8: 3}
_MAX_TOOL_CHARACTERS = 2600  # about 650 tokens
_MAX_REDRAWS = 200
_SMALL_TALK = Path(__file__).parent / "small_talk.txt"


def generate(num_samples: int, seed: int, split: Split, split_seed: int = 0, queries_per_list: int = 1) -> list[Sample]:
    """Samples in which only tools of the `split` occur. Sample i depends on the seeds, the split, `queries_per_list`
    and the samples before it.

    `split_seed` decides which tools are held out; leave it alone, so that train and held-out samples of different
    seeds stay apart. No two samples have the same messages and answer. ValueError when they run out.
    `queries_per_list` consecutive samples show the same tools, as in an application whose tools stay what they are;
    a sample whose kind the list does not allow has a list of its own.
    """
    pool = _pool(split, split_seed)
    seen: set[str] = set()
    samples: list[Sample] = []
    tools: list[ToolSpec] = []
    for index in range(num_samples):
        sample_id = f"builtin-{split}-{seed}-{index:06d}"
        begins_list = index % queries_per_list == 0
        sample = None if begins_list else _fresh_sample(pool, sample_id, seen, tools)
        sample = sample or _fresh_sample(pool, sample_id, seen)
        if sample is None:
            raise ValueError(f"{sample_id}: no new sample in {_MAX_REDRAWS} draws; ask for fewer samples")
        if begins_list:
            tools = [pool.by_name[tool["name"]] for tool in sample.prompt.tools]
        samples.append(sample)
    return samples


def tool_split(seed: int) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the tools to train on and of those held out: one whole cluster per domain, up to a quarter of all."""
    tools = load_catalog().tools
    clusters: dict[str, dict[str, set[str]]] = {}
    for tool in tools.values():
        clusters.setdefault(tool.domain, {}).setdefault(tool.cluster, set()).add(tool.name)
    random = Random(f"tool split {seed}")
    held_out: set[str] = set()
    for domain in random.sample(sorted(clusters), len(clusters)):
        cluster = clusters[domain][random.choice(sorted(clusters[domain]))]
        if len(held_out) + len(cluster) <= HELD_OUT_SHARE * len(tools):
            held_out |= cluster
    return frozenset(tools) - held_out, frozenset(held_out)


@functools.cache
def _pool(split: Split, split_seed: int) -> Pool:
    if split not in ("train", "held_out"):
        raise ValueError(f"split is {split!r}; it must be 'train' or 'held_out'")
    catalog = load_catalog()
    names = tool_split(split_seed)[split == "held_out"]
    talk = [line.partition(" => ") for line in _SMALL_TALK.read_text(encoding="utf-8").splitlines()]
    is_held_out = [index % 4 == 3 for index in range(len(talk))]
    return Pool(
        [tool for tool in catalog.tools.values() if tool.name in names],
        [joint for joint in catalog.joints if names.issuperset(joint.names)],
        [
            (parse(query), answer)
            for (query, _, answer), held in zip(talk, is_held_out, strict=True)
            if held == (split == "held_out")
        ],
    )


def _fresh_sample(pool: Pool, sample_id: str, seen: set[str], shown: Sequence[ToolSpec] = ()) -> Sample | None:
    """A sample that is not in `seen`, which it joins; with the tools `shown`, if given. Redrawing keeps the kind, so
    that the shares hold. None when no draw fits."""
    kind = Random(sample_id).choices(list(SHARES), list(SHARES.values()))[0]
    source = _restricted(pool, shown) if shown and kind != "no_tool" else pool
    for attempt in range(_MAX_REDRAWS):
        random = Random(f"{sample_id} {attempt}")
        draft = DRAFTS[kind](source, random)
        key = repr((draft.messages, draft.calls)) if draft else ""
        if draft is None or key in seen or (shown and not _fits(draft, shown)):
            continue
        seen.add(key)
        tools = shown or _candidates(pool, draft, random)
        return Sample(
            id=sample_id,
            prompt=Prompt(_messages(draft.messages), tuple(tool.schema for tool in tools)),
            answer=draft.calls,
            text=draft.text or _refusal(draft, tools, random) if not draft.calls else "",
            source="builtin",
            kind=kind,
            thought=draft.thought,
        )
    return None


def _restricted(pool: Pool, shown: Sequence[ToolSpec]) -> Pool:
    names = {tool.name for tool in shown}
    return Pool(shown, [joint for joint in pool.joints if names.issuperset(joint.names)], pool.small_talk)


def _fits(draft: Draft, shown: Sequence[ToolSpec]) -> bool:
    """Whether the list holds what the draft needs, and nothing that would do in place of another tool."""
    names = {tool.name for tool in shown}
    asked = [*draft.present, *([draft.absent] if draft.absent else [])]
    rivals = {rival for tool in asked for rival in tool.rivals}
    kept = names.issuperset(tool.name for tool in draft.present)
    return kept and not names & rivals and not (draft.absent and draft.absent.name in names)


def _messages(texts: Sequence[str]) -> tuple[Message, ...]:
    return tuple({"role": ("user", "assistant")[turn % 2], "content": text} for turn, text in enumerate(texts))


def _refusal(draft: Draft, tools: Sequence[ToolSpec], random: Random) -> str:
    assert draft.absent, "only a query for an absent tool is refused"
    related = [tool.deed for tool in tools if tool.domain == draft.absent.domain]
    return phrasing.refusal(draft.absent.deed, related, random)


def _candidates(pool: Pool, draft: Draft, random: Random) -> list[ToolSpec]:
    """The tools that are needed and near misses, mostly of the same domain, in random order."""
    wanted = random.choices(list(_NUM_CANDIDATES), list(_NUM_CANDIDATES.values()))[0]
    asked = [*draft.present, *([draft.absent] if draft.absent else [])]
    excluded = {name for tool in asked for name in (tool.name, *tool.rivals)}
    chosen = list(draft.present)
    size = sum(_num_characters(tool) for tool in chosen)
    for _ in range(4 * wanted):
        if len(chosen) >= wanted:
            break
        tool = _near_miss(pool, random.choice(asked), random) if asked else random.choice(pool.tools)
        grown = size + _num_characters(tool)
        if tool.name not in excluded and (grown <= _MAX_TOOL_CHARACTERS or not chosen):
            chosen.append(tool)
            excluded.add(tool.name)
            size = grown
    if not chosen:
        chosen = [next(tool for tool in pool.tools if tool.name not in excluded)]
    random.shuffle(chosen)
    return chosen


def _near_miss(pool: Pool, tool: ToolSpec, random: Random) -> ToolSpec:
    nearness = random.random()
    if nearness < 0.55:
        return random.choice([other for other in pool.tools if other.cluster == tool.cluster])
    if nearness < 0.85:
        return random.choice([other for other in pool.tools if other.domain == tool.domain])
    return random.choice(pool.tools)


@functools.cache
def _num_characters_of(name: str) -> int:
    return len(json.dumps(load_catalog().tools[name].schema))


def _num_characters(tool: ToolSpec) -> int:
    return _num_characters_of(tool.name)
