"""Wordings of tools that one part of the data has and the other never says: for scoring a policy on its own tools,
asked for in words that are new to it.

Two wordings belong together when, values aside, one can say what the other can, or says it as a part ("cancel the
order", "I want to cancel the order"): they are held out together or not at all. Not here: what is said around requests
("Please ...", "First ..., then ..."; `phrasing`), which both parts share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product
from operator import attrgetter, itemgetter
from random import Random
from types import MappingProxyType
from typing import TypeAlias, TypeVar

from iterft.synth.catalog import ToolSpec
from iterft.synth.drafts import Pool
from iterft.synth.spoken import SpokenTool
from iterft.synth.stock import Stock, links_between
from iterft.synth.wording import ByNumber, Choice, Optional, Repeat, Slot, Wording, slots

Item = TypeVar("Item")
Flags: TypeAlias = "Mapping[Choice, str]"


@dataclass(frozen=True)
class Parted:
    """The same tools twice, with other wordings. `left_out`: tools whose wordings are too few to be parted, with which
    only `train` asks."""

    train: Stock
    held_out: Stock
    left_out: tuple[str, ...]


def part_wordings(stock: Stock, share: float, seed: int) -> Parted:
    """Holds out about `share` of the wordings of each tool, of those in vain (`stock.others`) too. Queries for several
    built-in tools at once are left to training. ValueError when no tool has enough wordings."""
    parts = {name: _part_tool(tool, share, seed) for name, tool in stock.tools.items()}
    if not any(parts.values()):
        raise ValueError("--held-out-wordings: no tool has wordings enough to hold some out; use --held-out instead")
    others = [(tool, _part_spec(tool, share, seed)) for tool in stock.others.tools]
    said, unsaid = _part(stock.others.small_talk, itemgetter(0), share, Random(f"small talk {seed}"))
    train = _with(
        stock,
        {name: part[0] if part else stock.tools[name] for name, part in parts.items()},
        [part[0] if part else tool for tool, part in others],
        Pool((), stock.asked.joints, said),
    )
    held_out = _with(
        stock,
        {name: part[1] for name, part in parts.items() if part},
        [part[1] for _, part in others if part],
        Pool((), (), unsaid),
    )
    return Parted(train, held_out, tuple(name for name, part in parts.items() if not part))


def _with(stock: Stock, tools: Mapping[str, SpokenTool], others: Sequence[ToolSpec], besides: Pool) -> Stock:
    """The stock with these wordings. It shows the same tools."""
    asked = replace(besides, tools=[tool.spec for tool in tools.values()])
    return Stock(asked, replace(besides, tools=others, joints=()), stock.shown, tools, links_between(tools))


def _part_tool(tool: SpokenTool, share: float, seed: int) -> tuple[SpokenTool, SpokenTool] | None:
    specs = _part_spec(tool.spec, share, seed)
    if specs is None:
        return None
    parts = {
        name: _part(wordings, lambda wording: wording, share, Random(f"{seed} {tool.spec.name} {name}"))
        for name, wordings in tool.partials.items()
    }
    train, held_out = (
        replace(tool, spec=spec, partials={name: part[side] for name, part in parts.items() if part[side]})
        for side, spec in enumerate(specs)
    )
    return train, held_out


def _part_spec(tool: ToolSpec, share: float, seed: int) -> tuple[ToolSpec, ToolSpec] | None:
    """None where imperatives and queries are too few to be parted."""
    wordings = [*(("imperative", each) for each in tool.imperatives), *(("query", each) for each in tool.queries)]
    requests = _part(wordings, itemgetter(1), share, Random(f"{seed} {tool.name}"), itemgetter(0))
    if not all(requests):
        return None
    gaps = [
        _part(list(group), attrgetter("query"), share, Random(f"{seed} {tool.name} without {path}"))
        for path, group in groupby(sorted(tool.gaps, key=attrgetter("path")), attrgetter("path"))
    ]
    train, held_out = (
        replace(
            tool,
            imperatives=[wording for kind, wording in pairs if kind == "imperative"],
            queries=[wording for kind, wording in pairs if kind == "query"],
            gaps=[gap for part in gaps for gap in part[side]],
        )
        for side, pairs in enumerate(requests)
    )
    return train, held_out


def _part(
    items: Sequence[Item],
    wording_of: Callable[[Item], Wording],
    share: float,
    random: Random,
    kind_of: Callable[[Item], str] = lambda item: "",
) -> tuple[list[Item], list[Item]]:
    """(train, held out), in order; held out are groups of wordings that belong together, about `share` of all items,
    and at least one of each kind but those of a single item. All are train where that cannot be."""
    wordings = [wording_of(item) for item in items]
    flags = _flags(wordings)
    groups = _groups([variants(wording, flags) for wording in wordings])
    random.shuffle(groups)
    groups.sort(key=len)
    kinds = Counter(map(kind_of, items))
    lacking = {kind for kind, count in kinds.items() if count > 1}
    held: set[int] = set()
    for group in groups:
        own = {kind_of(items[at]) for at in group}
        fits = len(held) + len(group) <= share * len(items) or lacking & own
        remaining = {kind_of(item) for at, item in enumerate(items) if at not in held and at not in group}
        if fits and remaining == kinds.keys():
            held.update(group)
            lacking -= own
    if lacking:
        held = set()
    return (
        [item for at, item in enumerate(items) if at not in held],
        [item for at, item in enumerate(items) if at in held],
    )


def _groups(texts: Sequence[frozenset[str]]) -> list[list[int]]:
    """Numbers of the wordings, those together that belong together."""
    groups: list[list[int]] = []
    for number, own in enumerate(texts):
        near = [group for group in groups if any(_belong_together(own, texts[other]) for other in group)]
        groups = [group for group in groups if group not in near]
        groups.append(sorted([number, *(other for group in near for other in group)]))
    return groups


def _belong_together(texts: frozenset[str], others: frozenset[str]) -> bool:
    return not texts.isdisjoint(others) or any(one in other or other in one for one in texts for other in others)


def _flags(wordings: Sequence[Wording]) -> Flags:
    """Choices that say the value of one slot, where all wordings that say it have the same: then they say a value as
    any slot does. Written out, three of them would be a thousand variants of each wording."""
    found: dict[str, set[Choice | None]] = {}

    def visit(parts: Wording, among: Choice | None) -> None:
        for part in parts:
            match part:
                case Slot(path):
                    found.setdefault(path, set()).add(among)
                case Optional(inner) | Repeat(inner):
                    visit(inner, among)
                case Choice(options):
                    for option in options:
                        visit(option, among or part)

    for wording in wordings:
        visit(wording, None)
    alone = {next(iter(choices)): path for path, choices in found.items() if len(choices) == 1}
    return {choice: path for choice, path in alone.items() if choice and slots((choice,)) == {path}}


def variants(wording: Wording, flags: Flags = MappingProxyType({})) -> frozenset[str]:
    """All that a wording can say of one call or several, in lower case, with the names of its slots for values, and
    those of `flags` for what these choices say."""
    return frozenset(said.lower().strip(" .?!") for said in _all(wording, flags))


def _said(part: str | Slot | Optional | Choice | Repeat | ByNumber, flags: Flags) -> list[str]:
    match part:
        case str():
            return [part]
        case Slot(path, fixed):
            return [f"{{{path}}}" if fixed is None else ""]
        case Optional(parts):
            return ["", *_all(parts, flags)]
        case Choice(options):
            return [f"{{{flags[part]}}}"] if part in flags else [said for each in options for said in _all(each, flags)]
        case Repeat(parts):
            return _all(parts, flags)
        case ByNumber(one, several):
            return [one, several]


def _all(parts: Wording, flags: Flags) -> list[str]:
    return ["".join(said) for said in product(*(_said(part, flags) for part in parts))]
