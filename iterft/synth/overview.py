"""A run of the rules backend in counts and histograms, as plain text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count as counted
from math import ceil, exp, log2
from statistics import median
from typing import Any

from iterft.synth.complexity import Range
from iterft.synth.levers import fit
from iterft.synth.near import THRESHOLD, NearDuplicates
from iterft.synth.rounds import Rounds, told_probe, told_standing

_BAR = 40
_MAX_LISTED = 200

Row = Mapping[str, Any]


def overview(
    rows: Sequence[Row], shares: Mapping[str, float], domains: Mapping[str, str], redrawn: Counter[str]
) -> str:
    """`shares`: of the samples by kind of dialogue, as wanted. `domains`: of the tools that could be asked for, by
    name. `redrawn`: draws thrown away by reason."""
    sections = (
        _kinds(rows, shares),
        _histogram("samples by what is decided", Counter(str(row["kind"]) for row in rows)),
        _histogram("calls in a sample", Counter(len(row["answer"]) for row in rows)),
        _histogram("tools shown", Counter(len(row["tools"]) for row in rows)),
        _histogram("messages before the decision", Counter(len(row["messages"]) for row in rows)),
        _histogram(
            "characters of what the user says, up to", Counter(50 * (1 + len(text) // 50) for text in _asked(rows))
        ),
        _domains(rows, domains),
        _coverage(rows, list(domains)),
        _histogram("samples by operator of their tools", _operators(rows)),
        _histogram("draws thrown away in this process", redrawn),
    )
    return "\n\n".join("\n".join(section) for section in sections if section) + "\n"


def complexity_overview(rows: Sequence[Row], rounds: Rounds, learner: str) -> str:
    """The range, the share inside it after each round, the complexities of the rows, and what the levers do."""
    found = [row["provenance"]["complexity"] for row in rows if row["answer"]]
    sections = (
        [f"complexity under {learner}: {told_probe(rounds.found)}", *map(told_standing, counted(1), rounds.standings)],
        _doublings("samples with calls by complexity, up to (* in the range)", found, rounds.bounds),
        [
            "one more of these makes the complexity so many times what it is, other things equal",
            *(f"  {name:24} {exp(slope):7.2f}" for name, slope in fit(rounds.measured).slopes.items()),
        ],
    )
    return "\n".join("\n".join(["", *section]) for section in sections) + "\n"


def _doublings(title: str, complexities: Sequence[float], bounds: Range) -> Iterator[str]:
    """A histogram of two bars a doubling."""
    counts = Counter(ceil(2 * log2(complexity)) for complexity in complexities)
    yield title
    for at in range(min(counts), max(counts) + 1):
        low, high = 2 ** ((at - 1) / 2), 2 ** (at / 2)
        mark = "*" if bounds.lower < high and low < bounds.upper else " "
        yield f"  {high:8.4f} {mark} {counts[at]:7}  {'#' * round(_BAR * counts[at] / max(counts.values()))}"


def duplicate_shares(rows: Sequence[Row]) -> tuple[float, float]:
    """(exact, near): the share of dialogues whose user says just, or nearly, what the user of an earlier one does."""
    asked = _asked(rows)
    texts, near = NearDuplicates(asked[:400]), 0
    for text in asked:
        near += texts.similarity(text) > 0
        texts.add(text)
    return 1 - len(set(asked)) / max(1, len(asked)), near / max(1, len(asked))


def identical_share(rows: Sequence[Row]) -> float:
    """The share of rows of which an earlier one has the same messages, tools and reference: dialogues that part later
    may begin with the same question."""
    keys = {
        json.dumps([row["messages"], sorted(tool["name"] for tool in row["tools"]), row["answer"], row.get("text")])
        for row in rows
    }
    return 1 - len(keys) / max(1, len(rows))


def _kinds(rows: Sequence[Row], shares: Mapping[str, float]) -> Iterator[str]:
    counts = Counter(row["provenance"]["dialogue"] for row in rows)
    exact, near = duplicate_shares(rows)
    yield f"{len(rows)} samples of {len(_asked(rows))} dialogues"
    yield f"exact duplicates {exact:.2%}, near duplicates {near:.2%} (5-grams of characters, Jaccard > {THRESHOLD})"
    yield f"identical rows {identical_share(rows):.2%} (messages, tools and reference)"
    for kind, share in shares.items():
        yield f"  {kind:20} {counts[kind]:7}  {counts[kind] / max(1, len(rows)):6.1%}, wanted {share:.1%}"


def _asked(rows: Sequence[Row]) -> list[str]:
    """What the user says in each dialogue, told at its last decision."""
    by_dialogue: dict[str, str] = {}
    for row in rows:
        said = [str(message["content"]) for message in row["messages"] if message["role"] == "user"]
        by_dialogue[row["id"].rpartition("/")[0]] = "\n".join(said)
    return list(by_dialogue.values())


def _domains(rows: Sequence[Row], domains: Mapping[str, str]) -> list[str]:
    """[] where all tools are of one domain, as those of a user without groups."""
    sizes = Counter(domains.values())
    if len(sizes) < 2:
        return []
    asked = ({domains[name] for name in row["provenance"]["tools"] if name in domains} for row in rows)
    counts = Counter(domain for each in asked for domain in each)
    each = sorted(sizes, key=lambda domain: (-counts[domain], domain))
    return [
        f"{len(sizes)} domains: samples, tools",
        *(f"  {domain:24} {counts[domain]:7} {sizes[domain]:5}" for domain in each),
    ]


def _coverage(rows: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    counts = Counter(name for row in rows for name in row["provenance"]["tools"])
    each = sorted((counts[name], name) for name in names)
    numbers = [count for count, _ in each]
    yield f"coverage: {sum(count > 0 for count in numbers)} of {len(names)} tools are asked for; samples of a tool: "
    yield f"  least {numbers[0]}, median {median(numbers):.0f}, most {numbers[-1]}"
    for count, name in each[:_MAX_LISTED]:
        yield f"  {count:7}  {name}"


def _operators(rows: Sequence[Row]) -> Counter[str]:
    """In how many samples each operator has changed a tool."""
    used = (row["provenance"].get("operators", {}).values() for row in rows)
    return Counter(operator for lists in used for operator in dict.fromkeys(each for one in lists for each in one))


def _histogram(title: str, counts: Counter[Any]) -> list[str]:
    if not counts:
        return []
    is_number = all(isinstance(key, int) for key in counts)
    keys = sorted(counts) if is_number else [key for key, _ in counts.most_common()]
    most = max(counts.values())
    return [title, *(f"  {key!s:24} {counts[key]:7}  {'#' * round(_BAR * counts[key] / most)}" for key in keys)]
