"""ToolRL's graded reward (arXiv 2504.13958, section 3.3): the form, then names of tools, names and values of arguments.

    format   in {0, 1}: a closed think part, and a turn that reads as one
    correct  in [-3, 3]: 6 (names + keys + values) / (1 + calls of the reference + arguments of the reference) - 3
      names  |tools called and in the reference| / |tools in either|
      keys   for each call of the reference, |arguments in both| / |arguments in either|
      values for each call of the reference, arguments that have an accepted value

Calls and entries of the reference are paired by keys + values, the likest first (the paper has the best assignment; the
two differ only where several calls resemble several entries). Moved into [0, 1]: (format + correct + 3) / 7, which
changes no advantage of a group but for its epsilon. Where no call is right, the paper says nothing: correct is then 3
without a call, -3 with one or with a malformed turn. An argument that may be left out, and is, counts as right. Values
and malformed turns are what `call_match` takes for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from iterft.rewards.call_match import CallMatch, schema_of
from iterft.rewards.value_match import value_fault
from iterft.types import BFCL, PartialTurn, Reward, Sample, Tool, ToolCall, Trajectory

MATCH = CallMatch()
MOST = 3.0


@dataclass(frozen=True)
class GradedMatch:
    """`protocols.Verifier`. `parts`: format and correct as the paper has them; the reason is that of `call_match`."""

    def __call__(self, trajectory: Trajectory) -> Reward:
        sample, turn = trajectory.sample, trajectory.turns[-1]
        form = float(turn.thought is not None and not turn.error)
        verdict = MATCH(trajectory)
        correct = correctness(sample, turn.calls) if sample.answer else MOST if verdict.value == 1.0 else -MOST
        value = (form + correct + MOST) / (2 * MOST + 1)
        reason = verdict.reason or ("" if form else "unparsable")
        return Reward(value, reason, {"format": form, "correct": correct})

    def explain(self, trajectory: Trajectory) -> str:
        """One sentence for people on why the last turn has less than all; "" when it has all."""
        missing = (
            "" if trajectory.turns[-1].thought is not None else "The turn does not begin with a closed think part."
        )
        return MATCH.explain(trajectory) or missing

    def objection(self, sample: Sample, partial: PartialTurn) -> str:
        """ "" while some accepted answer still continues `partial`, else the named reason."""
        return MATCH.objection(sample, partial)


def correctness(sample: Sample, calls: Sequence[ToolCall]) -> float:
    """In [-3, 3], for a reference of at least one call."""
    wanted, made = (Counter(call.name for call in group) for group in (sample.answer, calls))
    names = (wanted & made).total() / (wanted | made).total()
    most = 1 + len(sample.answer) + sum(len(entry.arguments) for entry in sample.answer)
    tools = {tool["name"]: tool for tool in sample.prompt.tools}
    as_bfcl = sample.source == BFCL
    scores = [
        [likeness(call, entry, tools.get(entry.name, {}), as_bfcl=as_bfcl) for call in calls] for entry in sample.answer
    ]
    return 2 * MOST * (names + matched(scores)) / most - MOST


def likeness(call: ToolCall, entry: ToolCall, tool: Tool, *, as_bfcl: bool) -> float:
    """keys + values of one call against one entry of the reference; 0 for another tool."""
    if call.name != entry.name:
        return 0.0
    left_out = {key for key, accepted in entry.arguments.items() if "" in accepted and key not in call.arguments}
    there = set(call.arguments) | left_out
    right = len(left_out) + sum(
        not value_fault(value, entry.arguments[key], schema_of(key, tool), as_bfcl=as_bfcl)
        for key, value in call.arguments.items()
        if key in entry.arguments
    )
    either = there | set(entry.arguments)
    return (len(there & set(entry.arguments)) / len(either) if either else 1.0) + right


def matched(scores: Sequence[Sequence[float]]) -> float:
    """The sum of the scores [entries][calls] of pairs, the highest first, each entry and each call in one at most."""
    ranked = sorted(((-score, e, c) for e, row in enumerate(scores) for c, score in enumerate(row)))
    entries: set[int] = set()
    calls: set[int] = set()
    total = 0.0
    for negative, entry, call in ranked:
        if entry not in entries and call not in calls:
            entries.add(entry)
            calls.add(call)
            total -= negative
    return total
