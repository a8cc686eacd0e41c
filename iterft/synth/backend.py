"""What a backend is: it tells a planned dialogue. Rules plan every dialogue (its kind, tools, calls and values, results
of the typed world); a backend takes the plan over as it is, words it anew, or plays it with agents of its own.

All backends run in one pipeline: what they tell passes the same checks. Here is the seam and the backend without a
model; those with one are in `teacher`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from iterft.synth.catalog import ToolSpec
from iterft.synth.dialogues import Decision
from iterft.synth.drafts import Draft


@dataclass(frozen=True)
class Plan:
    """A dialogue as rules would tell it. `tools`: those shown; `returns`: the schemas of results, by name of the tool.
    `scope` is unlike that of any other plan of a run, and the same when the run is repeated."""

    kind: str
    draft: Draft
    tools: Sequence[ToolSpec]
    decisions: Sequence[Decision]
    returns: Mapping[str, Mapping[str, Any]]
    scope: str


@dataclass(frozen=True)
class Told:
    """A dialogue as it will be kept. `source`: what its samples say they come from. `counted`: what happened on the
    way, by reason."""

    decisions: Sequence[Decision]
    source: str
    provenance: Mapping[str, Any]
    counted: Counter[str] = field(default_factory=Counter)


Fault = Callable[[Sequence[Decision]], str]
"""Why decisions cannot be kept, "" when they can."""


@dataclass(frozen=True)
class Backend:
    """`tell` gives a dialogue, or why there is none; what one request came to nothing over may be raised as a
    ChatFault. `width`: how many dialogues are told side by side. `max_tries`: so many that come to nothing in the
    place of one dialogue, and it is left. `patience`: so many places left empty in a row, and the kind is given up.
    `settings`: what else its dialogues depend on."""

    name: str
    tell: Callable[[Plan, Fault], Told | str]
    width: int = 1
    max_tries: int = 60
    patience: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)


def _as_planned(plan: Plan, fault: Fault) -> Told | str:
    return fault(plan.decisions) or Told(plan.decisions, RULES.name, {})


RULES = Backend("rules", _as_planned)
"""No model at all."""
