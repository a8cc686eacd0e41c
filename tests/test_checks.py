"""The rules of verification: each catches its planted faults by the right name, and no sound sample is objected to."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from planting import FAULTS, Planted, grounds, outcome, planted, reasons
from plants import ALSO, CALL, PLANTS, SOUND, parameters

from iterft.build import DIALECTS
from iterft.synth.checks import ASPECTS, check
from iterft.synth.tasks import generate

SCRIPT = Path(__file__).parent.parent / "scripts" / "check_rules.py"
RULES = [name for rules in ASPECTS.values() for name in rules]


def test_every_rule_has_a_planted_fault_and_its_own_name() -> None:
    assert set(PLANTS) == set(FAULTS) == set(RULES)
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


@pytest.mark.slow
def test_faults_of_every_kind_planted_into_two_thousand_samples_are_all_caught() -> None:
    found = planted(grounds(34, seed=6), 34, seed=6)
    assert Counter(one.reason for one in found) == dict.fromkeys(RULES, 34)
    assert len({one.sound.id for one in found}) == len(found) >= 2000
    assert {(one.reason, one.way) for one in found} == {(r, way) for r in RULES for way in range(len(FAULTS[r]))}
    for one in found:
        assert outcome(one).is_right, (one.reason, one.way, outcome(one))


@pytest.mark.slow
def test_faults_are_planted_at_the_same_places_again() -> None:
    samples = grounds(2, seed=3)
    assert planted(samples, 2, seed=3) == planted(grounds(2, seed=3), 2, seed=3)
    assert planted(samples, 2, seed=3) != planted(samples, 2, seed=4)


def test_an_outcome_is_right_only_if_what_was_sound_breaks_that_rule_and_no_other() -> None:
    listed, typed = PLANTS["not_in_enum"][0], PLANTS["wrong_type"][0]
    assert outcome(Planted("not_in_enum", 0, CALL, listed)).is_right
    for missed in (
        Planted("not_in_enum", 0, CALL, CALL),
        Planted("not_in_enum", 0, CALL, typed),
        Planted("not_in_enum", 0, CALL, replace(listed, kind="no_tool")),
        Planted("not_in_enum", 0, listed, listed),
    ):
        assert not outcome(missed).is_right


@pytest.mark.slow
def test_the_script_tells_of_every_rule_what_was_caught() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--each", "2"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    told = {words[0]: words[2:4] for line in lines[2:-1] if (words := line.split())}
    assert told == {rule: ["2", "2"] for rule in RULES}
    num = 2 * len(RULES)
    assert re.match(rf"{len(RULES)} rules .* {num} of {num} caught .*, 0 wrong;", lines[-1])


def test_objections_say_what_is_wrong() -> None:
    (objection,) = check(PLANTS["not_in_enum"][0], ())
    assert objection.detail == 'get_weather: unit: not in enum ("rankine" is none of ["celsius", "kelvin"])'


def test_a_dialect_that_is_not_given_is_not_looked_for() -> None:
    prose = replace(PLANTS["call_in_prose"][0], kind="")
    assert check(prose, ()) == []
    assert check(CALL, ()) == []


def test_branches_that_only_say_what_is_required_are_read_with_the_properties_of_the_whole() -> None:
    either = parameters(anyOf=[{"required": ["city"]}, {"required": ["days"]}])
    assert check(either, ()) == []
    neither = replace(either, answer=(replace(either.answer[0], arguments={}),))
    assert "missing_parameter" in {objection.reason for objection in check(neither, ())}
