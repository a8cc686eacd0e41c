"""What is wrong with a sample, by rules: API definition, executability, dialogue, consistency (see `rules`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iterft.chat import Dialect
from iterft.synth.rules import consistency, definition, dialogue, executability
from iterft.synth.rules.facts import Facts, Rule
from iterft.types import Sample

ASPECTS: Mapping[str, Mapping[str, Rule]] = {
    "definition": definition.RULES,
    "executability": executability.RULES,
    "dialogue": dialogue.RULES,
    "consistency": consistency.RULES,
}


@dataclass(frozen=True)
class Objection:
    """The name of a rule that is broken, and by what."""

    reason: str
    detail: str


def check(sample: Sample, dialects: Sequence[Dialect]) -> list[Objection]:
    """All rules that the sample breaks, in the order of `ASPECTS`; [] when it is sound. `dialects`: the ways of writing
    calls that prose must not be mistaken for."""
    facts = Facts(sample, dialects)
    found = ((name, rule(facts)) for rules in ASPECTS.values() for name, rule in rules.items())
    return [Objection(name, detail) for name, detail in found if detail]
