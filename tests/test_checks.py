"""The rules of verification: each catches its planted faults by the right name, and no sound sample is objected to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plants import ALSO, ANYWHERE, CALL, PLANTS, SOUND

from iterft.build import DIALECTS
from iterft.synth.checks import ASPECTS, check
from iterft.synth.tasks import generate
from iterft.types import Sample

RULES = [name for rules in ASPECTS.values() for name in rules]


def reasons(sample: Sample) -> set[str]:
    return {objection.reason for objection in check(sample, tuple(DIALECTS.values()))}


def test_every_rule_has_a_planted_fault_and_its_own_name() -> None:
    assert set(PLANTS) == set(RULES)
    assert len(set(RULES)) == len(RULES) >= 40


@pytest.mark.parametrize("number", range(len(SOUND)))
def test_sound_samples_meet_every_rule(number: int) -> None:
    assert check(SOUND[number], tuple(DIALECTS.values())) == []


@pytest.mark.parametrize("reason", RULES)
def test_a_planted_fault_is_caught_by_its_name_and_by_no_other(reason: str) -> None:
    for number, sample in enumerate(PLANTS[reason]):
        found = reasons(sample)
        assert reason in found, number
        assert found <= {reason} | ALSO.get(reason, set()), number


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_the_built_in_tasks_meet_every_rule(split: str) -> None:
    for sample in generate(2000, seed=5, split=split):
        assert check(sample, tuple(DIALECTS.values())) == [], sample.id


def test_faults_planted_in_two_thousand_samples_are_all_caught() -> None:
    samples = [sample for sample in generate(3200, seed=6, split="train") if sample.answer][:2000]
    assert len(samples) == 2000
    plants = list(ANYWHERE.items())
    for number, sample in enumerate(samples):
        reason, plant = plants[number % len(plants)]
        assert reason in reasons(plant(sample)), (sample.id, reason)


def test_objections_say_what_is_wrong() -> None:
    (objection,) = check(PLANTS["not_in_enum"][0], ())
    assert objection.detail == 'get_weather: unit: not in enum ("rankine" is none of ["celsius", "kelvin"])'


def test_a_dialect_that_is_not_given_is_not_looked_for() -> None:
    prose = replace(PLANTS["call_in_prose"][0], kind="")
    assert check(prose, ()) == []
    assert check(CALL, ()) == []
