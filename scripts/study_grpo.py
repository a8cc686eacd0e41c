"""Does entropy in the advantage help? GRPO against entropy-GRPO from the same warm-ups, with equally many rollouts.

For each seed the recipe is run twice, with `stage.kind` grpo and entropy_grpo; the second run takes over the warm-up of
the first. Each warm-up and each last checkpoint is scored on the same held-out items of unseen tools, QUERIES of which
show the same tools; intervals are over such groups, seeds averaged, so the spread of seeds is beside them and not in
them. Printed: accuracy in all and by the number of calls, the same of the runs' own held-out items after each of their
iterations, and what the first and the last steps saw; drawn over all steps and iterations with --plot. The stage's
guards are off: an arm that collapses is measured as it is. Everything is kept in OUT: started again, it goes on.

python scripts/study_grpo.py --seeds 0 1 2 --items 400 --out runs/study-grpo --plot docs/grpo.svg
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from plots import plot_file
from study_loop import difference, groups_of, score

from iterft import Iterator, Recipe
from iterft.synth.tasks import generate
from iterft.types import Sample

KINDS = ("grpo", "entropy_grpo")
ARMS = ("warm-up", *KINDS)
FIGURES = ("reward", "surprise", "entropy", "thought_entropy", "calls", "zero_variance")
GUARDS_OFF = ("grpo.min_call_share=0", "grpo.min_entropy=0")
EDGE = 3
"""Steps at the beginning and at the end that are averaged."""


@dataclass(frozen=True)
class Outcome:
    """Of one seed: arm -> whether each item passed; kind -> the figures of its steps, in order, and its iterations'
    held-out accuracy, of all items and of those that take several calls."""

    passed: dict[str, list[bool]]
    steps: dict[str, list[dict[str, float]]]
    curves: dict[str, list[tuple[float, float]]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="smollm2-135m-grpo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--queries", type=int, default=4, help="held-out items that show the same tools")
    parser.add_argument("--out", type=Path, default=Path("runs/study-grpo"))
    parser.add_argument("--plot", type=plot_file, metavar="FILE", help="steps and iterations drawn (needs matplotlib)")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="key=value")
    options = parser.parse_args()
    items = generate(options.items, 0, "held_out", queries_per_list=options.queries)
    outcomes = []
    try:
        for seed in options.seeds:
            recipes = {
                kind: Recipe.load(
                    options.recipe, [*GUARDS_OFF, *options.overrides, f"seed={seed}", f"stage.kind={kind}"]
                )
                for kind in KINDS
            }
            outcomes.append(study_seed(recipes, options.out / f"seed-{seed}", items))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    report(outcomes, items)
    if options.plot:
        draw(outcomes, options.plot)
    return 0


def study_seed(recipes: dict[str, Recipe], folder: Path, items: list[Sample]) -> Outcome:
    passed: dict[str, list[bool]] = {}
    steps, curves = {}, {}
    for kind, recipe in recipes.items():
        iterator = Iterator(recipe, folder / kind)
        warm_up = iterator.store.run / "iter_000"
        known = folder / KINDS[0] / "iter_000"
        if not warm_up.exists() and known.exists():
            shutil.copytree(known, partial := warm_up.with_name("iter_000.tmp"), dirs_exist_ok=True)
            partial.replace(warm_up)
        run = iterator.run()
        if "warm-up" not in passed:
            file = folder / f"scores-warm-up-{len(items)}.json"
            passed["warm-up"] = score(iterator, iterator.store.checkpoint(0), file, items)
        passed[kind] = score(iterator, run.checkpoint, folder / f"scores-{kind}-{len(items)}.json", items)
        steps[kind] = steps_of(run.folder / "metrics.jsonl")
        curves[kind] = [accuracies_of(record) for record in run.records]
    return Outcome(passed, steps, curves)


def accuracies_of(record: dict[str, Any]) -> tuple[float, float]:
    """In percent, of all held-out items and of those that take several calls."""
    several = [counts for kind, counts in record["by_kind"].items() if kind.startswith("parallel")]
    right, total = (sum(column) for column in zip(*several, strict=True)) if several else (0, 0)
    return 100 * record["accuracy"], 100 * right / max(1, total)


def steps_of(metrics: Path) -> list[dict[str, float]]:
    """Of all iterations; a step that was done again after a kill counts once."""
    events = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    kept: dict[tuple[int, int], dict[str, float]] = {}
    iteration = 0
    for event in events:
        if event["event"] == "iteration":
            iteration = event["iteration"]
        elif event["event"] == "grpo":
            kept[iteration, event["step"]] = event
    return list(kept.values())


def report(outcomes: list[Outcome], items: list[Sample]) -> None:
    """Accuracy per arm, one figure per seed, and by what was asked for; then how the steps began and ended."""
    parts = {
        "all": [True for _ in items],
        "one call": [len(item.answer) == 1 for item in items],
        "several calls": [len(item.answer) > 1 for item in items],
        "no call": [not item.answer for item in items],
    }
    print(f"\nheld-out accuracy in %, {len(items)} items of unseen tools; per seed, and the mean by number of calls")
    for arm in ARMS:
        shares = {
            name: [100 * float(np.mean(np.array(one.passed[arm])[chosen])) for one in outcomes]
            for name, chosen in parts.items()
        }
        each = "  ".join(f"{share:5.1f}" for share in shares["all"])
        means = ", ".join(f"{name} {fmean(values):.1f}" for name, values in shares.items())
        print(f"  {arm:14s} {each}   mean: {means}")
    by_arm = {arm: [one.passed[arm] for one in outcomes] for arm in ARMS}
    for first, second in (("entropy_grpo", "grpo"), ("grpo", "warm-up"), ("entropy_grpo", "warm-up")):
        print(f"  {first} - {second}: {difference(by_arm[first], by_arm[second], groups_of(items))}")
        pairs = zip(by_arm[first], by_arm[second], strict=True)
        print("    by seed: " + ", ".join(f"{100 * (np.mean(ours) - np.mean(theirs)):+.1f}" for ours, theirs in pairs))
    print("\nheld-out accuracy of the runs in %, warm-up -> last iteration, mean over seeds")
    for kind in KINDS:
        for name, column in (("all", 0), ("several calls", 1)):
            curves = zip(*(one.curves[kind] for one in outcomes), strict=True)
            means = [fmean(point[column] for point in points) for points in curves]
            print(f"  {kind:14s} {name:14s} {' -> '.join(f'{mean:.1f}' for mean in means)}")
    print(f"\nfirst {EDGE} -> last {EDGE} steps, mean over seeds")
    for kind in KINDS:
        shown = []
        for figure in FIGURES:
            edges = [
                [step[figure] for one in outcomes for step in one.steps[kind][span] if figure in step]
                for span in (slice(EDGE), slice(-EDGE, None))
            ]
            if all(edges):
                shown.append(f"{figure} {fmean(edges[0]):.3f} -> {fmean(edges[1]):.3f}")
        print(f"  {kind:14s} {', '.join(shown)}", flush=True)


def draw(outcomes: list[Outcome], file: Path) -> None:
    """Each seed a thin line, their mean a thick one."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(PANELS), figsize=(4 * len(PANELS), 3))
    for axis, (label, over, lines_of) in zip(panels, PANELS, strict=True):
        for kind, color in zip(KINDS, ("tab:gray", "tab:blue"), strict=True):
            lines = [lines_of(one, kind) for one in outcomes]
            first = 0 if over == "iteration" else 1
            for line in lines:
                axis.plot(range(first, first + len(line)), line, color=color, linewidth=0.5, alpha=0.6)
            known = [[value for value in points if value == value] for points in zip(*lines, strict=True)]
            means = [fmean(points) if points else float("nan") for points in known]
            axis.plot(range(first, first + len(means)), means, color=color, label=kind)
        axis.set(xlabel=over, ylabel=label)
        axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(file)
    print(f"drawn: {file}")


def over_steps(figure: str) -> Callable[[Outcome, str], list[float]]:
    return lambda outcome, kind: [step.get(figure, float("nan")) for step in outcome.steps[kind]]


def over_iterations(column: int) -> Callable[[Outcome, str], list[float]]:
    return lambda outcome, kind: [point[column] for point in outcome.curves[kind]]


PANELS = (
    ("reward", "step", over_steps("reward")),
    ("entropy of think parts, nats", "step", over_steps("thought_entropy")),
    ("surprise of a token, nats", "step", over_steps("surprise")),
    ("held-out accuracy, %", "iteration", over_iterations(0)),
    ("accuracy on several calls, %", "iteration", over_iterations(1)),
)


if __name__ == "__main__":
    sys.exit(main())
