"""The loop with shared prefixes and without: tokens forwarded, seconds by step, pairs, accuracy (docs/speed.md).

Both arms run the same recipe from the same seed, in turn, each in a folder of its own that is removed afterwards; the
second forwards every row whole, by the model's own forward and TRL's (`model.share_prefixes=false`). Seconds are the
medians of all repeats. Sizes are small by default; pairs are equal in float32 but for draws on the edge of two tokens.

python scripts/bench_loop.py [--repeats 5] [--set key=value ...]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch

from iterft import Iterator, Recipe

SMALL = (
    "iters=1", "warmup.num_samples=16", "deficiency.num_candidates=6", "data.num_held_out=8", "model.dtype=float32",
)  # fmt: skip
ARMS = {"shared": "true", "whole": "false"}
STEPS = ("warm-up", "deficiency", "search", "update", "evaluation")


@dataclass(frozen=True)
class Outcome:
    """Of one run. `tokens`: those its forwards computed, by what they were for."""

    seconds: dict[str, float]
    tokens: dict[str, int]
    pairs: Counter[str]
    passed: dict[str, bool]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="smollm2-135m")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="key=value")
    options = parser.parse_args()
    outcomes: dict[str, list[Outcome]] = {arm: [] for arm in ARMS}
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl", "peft"))
    print(f"{platform.machine()}, {torch.get_num_threads()} threads; {packages}; {options.recipe}")
    print(", ".join([*SMALL, *options.overrides]))
    for repeat in range(1, options.repeats + 1):
        for arm, value in ARMS.items():
            overrides = [*SMALL, *options.overrides, f"model.share_prefixes={value}"]
            try:
                recipe = Recipe.load(options.recipe, overrides)
                if recipe.iters < 1 or "dpo" not in recipe.stage_kinds:
                    raise ValueError(
                        f"iters={recipe.iters}, stages {recipe.stage_kinds}: nothing makes pairs to compare"
                    )
                outcomes[arm].append(run_once(recipe))
            except ValueError as error:
                print(f"error: {error}", file=sys.stderr)
                return 2
            spent = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in outcomes[arm][-1].seconds.items())
            print(f"{repeat} of {options.repeats}, {arm}: {spent}", file=sys.stderr, flush=True)
    report(outcomes)
    return 0


def run_once(recipe: Recipe) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        run = Iterator(recipe, Path(folder) / "run", quiet=True).run()
        last = run.folder / f"iter_{recipe.iters:03d}"
        rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").open(encoding="utf-8")]
        pairs = [json.loads(line) for line in (last / "pairs.jsonl").open(encoding="utf-8")]
        scores = json.loads((last / "scores.json").read_text(encoding="utf-8"))
    seconds: Counter[str] = Counter()
    for record in run.records:
        seconds.update(record["seconds"])
    tokens: Counter[str] = Counter()
    for row in rows:
        if row["event"] == "forwarded":
            tokens[row["stage"]] += row["unique_tokens"] + row["computed_again"]
        elif row["event"] == "decoded":
            tokens["prefixes and scoring"] += row["prefilled"] + row["refed"]
            tokens["sampled"] += row["sampled"]
    sides = ("sample_id", "prompt_ids", "chosen_ids", "rejected_ids")
    return Outcome(
        dict(seconds), dict(tokens), Counter(str([pair[key] for key in sides]) for pair in pairs), scores["passed"]
    )


def report(outcomes: dict[str, list[Outcome]]) -> None:
    shared, whole = (outcomes[arm] for arm in ARMS)
    print(f"\n{'':24}{'shared':>10}{'whole':>10}{'ratio':>8}")
    for name in shared[0].tokens:
        line(f"tokens: {name}", shared[0].tokens[name], whole[0].tokens[name], "10,d")
    line("tokens in all", sum(shared[0].tokens.values()), sum(whole[0].tokens.values()), "10,d")
    for step in [step for step in STEPS if step in shared[0].seconds]:
        mine, theirs = (median(outcome.seconds[step] for outcome in arm) for arm in (shared, whole))
        line(f"seconds: {step}", mine, theirs, "10.1f")
    mine, theirs = (median(sum(outcome.seconds.values()) for outcome in arm) for arm in (shared, whole))
    line("seconds in all", mine, theirs, "10.1f")
    common = (shared[0].pairs & whole[0].pairs).total()
    print(f"pairs: {shared[0].pairs.total()} and {whole[0].pairs.total()}, {common} of them equal to the last id")
    agree = sum(whole[0].passed[key] == value for key, value in shared[0].passed.items())
    print(
        f"held-out items right: {sum(shared[0].passed.values())} and {sum(whole[0].passed.values())} of "
        f"{len(whole[0].passed)}, the same verdict on {agree}"
    )


def line(name: str, shared: float, whole: float, form: str) -> None:
    print(f"{name:24}{shared:{form}}{whole:{form}}{shared / whole:7.2f}x")


if __name__ == "__main__":
    sys.exit(main())
