"""Checks of tool-calling data by rules, whoever made it.

python scripts/synthesize.py --check data.jsonl [--out clean.jsonl] [--rejected rejected.jsonl]

Reads any form that `data.form` knows, counts broken rules, and keeps rejected samples aside with their reasons.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from iterft import Recipe, build
from iterft.data import AUTO, collector_paused, readings
from iterft.readers.forms import FORMS
from iterft.synth.checks import Objection, check
from iterft.synth.rows import replacing
from iterft.synth.sift import Judge, Tally, sift
from iterft.types import Sample


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", metavar="DATA", help="a file of samples, or hub:OWNER/NAME")
    parser.add_argument("--form", default=AUTO, choices=[AUTO, *FORMS])
    parser.add_argument("--out", type=Path, help="where sound samples go")
    parser.add_argument("--rejected", type=Path, help="where rejected ones go, each with its reasons")
    options = parser.parse_args()
    try:
        return check_data(options)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2


def check_data(options: argparse.Namespace) -> int:
    """ValueError when the source cannot be read or no row of it can."""
    with ExitStack() as files, collector_paused():
        clean = files.enter_context(replacing(options.out)) if options.out else None
        rejected = files.enter_context(replacing(options.rejected)) if options.rejected else None
        tally = sift(readings(options.check, "--check", options.form), judge(), clean, rejected)
        if not tally.num_samples:
            why = "the file is empty" if not tally.num_rows else next(iter(tally.firsts.values()))
            raise ValueError(f"--check {options.check}: of {tally.num_rows} rows none could be read ({why})")
    print_tally(options.check, tally)
    return 0


def judge() -> Judge:
    """All rules, then the verifier of a run."""
    world = build.world(Recipe.load())
    dialects = tuple(build.DIALECTS.values())

    def judged(sample: Sample) -> list[Objection]:
        objections = check(sample, dialects)
        fault = "" if objections else build.reference_fault(world, sample, is_learnt=False)
        return [Objection("fails_verification", fault)] if fault else objections

    return judged


def print_tally(source: str, tally: Tally) -> None:
    num_bad = tally.num_samples - tally.num_sound
    share = num_bad / tally.num_samples
    print(f"{source}: {tally.num_rows} rows, {tally.num_samples} samples, {num_bad} rejected ({share:.1%})")
    for reason, count in tally.reasons.most_common():
        print(f"  {count:6}  {reason:28}  {tally.firsts[reason]}")


if __name__ == "__main__":
    sys.exit(main())
