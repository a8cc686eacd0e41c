"""What `synthesize.py --check` does: samples by the rules, then by a judge if one is named. No script of its own."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, TextIO

from iterft import Recipe, build
from iterft.config import JudgeSettings
from iterft.data import readings
from iterft.log import Log
from iterft.recipe import endpoint_settings
from iterft.synth.checks import Objection, check
from iterft.synth.grounding import ungrounded
from iterft.synth.judge import judge_all
from iterft.synth.leaks import Evaluation, leaks
from iterft.synth.rows import line_of, replacing, row_of
from iterft.synth.sift import Judge, Tally, sift
from iterft.types import Sample

UNGROUNDED = "ungrounded_value"


def check_data(options: argparse.Namespace, evaluation: Evaluation) -> int:
    """`evaluation`: what no sample may have in common with evaluation data. ValueError when the source cannot be read,
    or no row of it."""
    with ExitStack() as files:
        clean = files.enter_context(replacing(options.out)) if options.out else None
        rejected = files.enter_context(replacing(options.rejected)) if options.rejected else None
        read = readings(options.check, "--check", options.form)
        rules = judge(options.grounding, evaluation)
        sound: list[Sample] = []

        def remembering(sample: Sample) -> list[Objection]:
            objections = list(rules(sample))
            if not objections:
                sound.append(sample)
            return objections

        tally = sift(read, remembering if options.judge else rules, None if options.judge else clean, rejected)
        if not tally.num_samples:
            why = "the file is empty" if not tally.num_rows else next(iter(tally.firsts.values()))
            raise ValueError(f"--check {options.check}: of {tally.num_rows} rows none could be read ({why})")
        print_tally(options.check, tally)
        if options.judge:
            ask_judge(options, sound, tally.besides, rules, clean, rejected)
    return 0


def ask_judge(
    options: argparse.Namespace,
    sound: Sequence[Sample],
    besides: Mapping[str, Mapping[str, Any]],
    rules: Judge,
    clean: TextIO | None,
    rejected: TextIO | None,
) -> None:
    """Puts what the rules let pass to the model and prints what became of it. Verdicts are kept beside the output, so
    that the same command goes on where a killed one has stopped."""
    settings = endpoint_settings(options.endpoint, model=options.judge_model, key_env=options.judge_key_env)
    output = options.out or options.rejected
    journal = str(output.with_name(f"{output.name}.verdicts.jsonl")) if output else ""
    log = Log()
    with build.chat_model(options.judge, settings, log) as model:
        judged = judge_all(sound, model, JudgeSettings(votes=options.votes, journal=journal), log)
    given = {sample.id: sample for sample in sound}
    counts = Counter(judged.counts)
    for sample in judged.kept:
        objections = rules(sample) if sample != given[sample.id] else []
        if objections:
            counts["a regenerated reference that breaks a rule"] += 1
            reasons = [(objection.reason, objection.detail) for objection in objections]
            write_row(rejected, sample, reasons, besides.get(sample.id, {}))
        else:
            write_row(clean, sample, [], besides.get(sample.id, {}))
    for sample, reason in judged.rejected:
        write_row(rejected, sample, [("judge", reason)], besides.get(sample.id, {}))
    print(f"judged by {model.name}: {len(sound)} samples")
    for reason, count in counts.most_common():
        print(f"  {count:6}  {reason}")


def write_row(out: TextIO | None, sample: Sample, reasons: Sequence[tuple[str, str]], more: Mapping[str, Any]) -> None:
    if out is not None:
        told = {"reasons": [{"reason": reason, "detail": detail} for reason, detail in reasons]} if reasons else {}
        out.write(line_of(row_of(sample, **more, **told)))


def judge(grounding: bool, evaluation: Evaluation | None = None) -> Judge:
    """All rules, what is shared with evaluation data, then the verifier of a run."""
    world = build.world(Recipe.load())
    dialects = tuple(build.DIALECTS.values())

    def judged(sample: Sample) -> list[Objection]:
        objections = check(sample, dialects)
        if grounding and (unsaid := ungrounded(sample)):
            objections.append(Objection(UNGROUNDED, unsaid[0]))
        if evaluation:
            objections += leaks(sample, evaluation)
        if not objections and world.judge(sample, build.reference_turn(sample)).value < 1.0:
            why = world.explain(sample, build.reference_turn(sample))
            objections.append(Objection("fails_verification", why))
        return objections

    return judged


def print_tally(source: str, tally: Tally) -> None:
    num_bad = tally.num_samples - tally.num_sound
    share = num_bad / tally.num_samples
    print(f"{source}: {tally.num_rows} rows, {tally.num_samples} samples, {num_bad} rejected ({share:.1%})")
    for reason, count in tally.reasons.most_common():
        print(f"  {count:6}  {reason:28}  {tally.firsts[reason]}")
