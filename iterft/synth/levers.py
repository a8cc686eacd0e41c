"""What can make a sample harder, as numbers read off its row, and what each of them does to one policy.

A forecast of complexity is fitted to what was measured: one weight a lever, one a tool, one a kind of decision. Before
anything is known every lever makes harder, the same bit each; what was measured corrects that. It is the same for rows
of any backend. Not here: drawing rows (`redraw`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from iterft.synth.names import words_of

Row = Mapping[str, Any]

PRIOR, PRIOR_WEIGHT = 0.2, 4.0
"""By how many standard deviations of the complexity's logarithm one of a lever's raises it as long as nothing else is
known, and how many rows it takes to outweigh that."""
_CONTEXT_WEIGHT = 2.0
"""So many rows it takes to believe half of what a tool or a kind seems to do."""


def _num_calls(row: Row) -> float:
    return len(row["answer"])


def _num_tools(row: Row) -> float:
    return math.log2(len(row["tools"]))


def _num_near(row: Row) -> float:
    """Tools shown that are not called and share a word of their name with one that is."""
    called = {call["name"] for call in row["answer"]}
    words = {word for name in called for word in words_of(name)}
    others = (tool["name"] for tool in row["tools"] if tool["name"] not in called)
    return sum(not words.isdisjoint(words_of(name)) for name in others)


def _distance(row: Row) -> float:
    """Share of the words of the definition, names of the tools and of the arguments given, that nobody has said."""
    said = {word for message in row["messages"] for word in re.findall(r"[a-z]+", str(message["content"]).lower())}
    names = [name for call in row["answer"] for name in (call["name"], *call["arguments"])]
    words = {word for name in names for word in words_of(name)}
    return len(words - said) / max(1, len(words))


def _num_optional(row: Row) -> float:
    required = {tool["name"]: (tool.get("parameters") or {}).get("required") or () for tool in row["tools"]}
    return sum(name not in required[call["name"]] for call in row["answer"] for name in call["arguments"])


def _num_nested(row: Row) -> float:
    values = (value for call in row["answer"] for value in call["arguments"].values())
    return sum(isinstance(value, list | dict) for value in values)


LEVERS: Mapping[str, Callable[[Row], float]] = {
    "calls": _num_calls,
    "tools shown (doublings)": _num_tools,
    "near tools shown": _num_near,
    "distance of the wording": _distance,
    "optional arguments": _num_optional,
    "lists and objects": _num_nested,
}


@dataclass(frozen=True)
class Forecast:
    """The logarithm of a row's complexity, linear in its levers and in what it is about."""

    mean: float
    centers: Mapping[str, float]
    slopes: Mapping[str, float]
    contexts: Mapping[str, float]

    def __call__(self, row: Row) -> float:
        moved = sum(slope * (LEVERS[name](row) - self.centers[name]) for name, slope in self.slopes.items())
        return self.mean + moved + sum(self.contexts.get(name, 0.0) for name in _contexts_of(row))


def fit(measured: Sequence[tuple[Row, float]]) -> Forecast:
    """Ridge regression on rows, one or more, and their complexities."""
    names = sorted({name for row, _ in measured for name in _contexts_of(row)})
    at = {name: number for number, name in enumerate(names, start=len(LEVERS))}
    design = np.zeros((len(measured), len(LEVERS) + len(names)))
    for line, (row, _) in zip(design, measured, strict=True):
        line[: len(LEVERS)] = [lever(row) for lever in LEVERS.values()]
        line[[at[name] for name in _contexts_of(row)]] = 1
    centers = design[:, : len(LEVERS)].mean(axis=0)
    spreads = design[:, : len(LEVERS)].std(axis=0)
    spreads[spreads == 0] = 1  # a lever that was never moved keeps what is believed of it before
    design[:, : len(LEVERS)] = (design[:, : len(LEVERS)] - centers) / spreads
    targets = np.log([complexity for _, complexity in measured])
    prior = np.array([PRIOR * targets.std()] * len(LEVERS) + [0.0] * len(names))
    weights = np.array([PRIOR_WEIGHT] * len(LEVERS) + [_CONTEXT_WEIGHT] * len(names))
    gap = targets - targets.mean() - design @ prior
    solved = prior + np.linalg.solve(design.T @ design + np.diag(weights), design.T @ gap)
    slopes = solved[: len(LEVERS)] / spreads
    return Forecast(
        float(targets.mean()),
        dict(zip(LEVERS, map(float, centers), strict=True)),
        dict(zip(LEVERS, map(float, slopes), strict=True)),
        dict(zip(names, map(float, solved[len(LEVERS) :]), strict=True)),
    )


def _contexts_of(row: Row) -> Iterator[str]:
    """What a row is about: the kind of its decision, the tool it calls first."""
    yield f"kind {row['kind']}"
    if row["answer"]:
        yield f"tool {row['answer'][0]['name']}"
