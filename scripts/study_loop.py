"""Does the loop beat its own warm-up, and the same wall time of more warm-up SFT? (docs/results.md, "Against more SFT")

For each seed: the recipe's run; then, from its warm-up checkpoint, SFT on further training samples for as long as the
iterations took (deficiency, search, update; evaluation is left out of both). These are the samples that the iterations
choose from: fresh ones where `data.num_train` exceeds `warmup.num_samples`, else those of the warm-up. All three
checkpoints are scored on the same held-out items of unseen tools, QUERIES of which show the same tools (prompts that
share their beginning cost less); intervals are over such groups, not over single items. With a held-out file in the
recipe, its samples are scored, and intervals are over them. `--sft-lrs` adds arms of more SFT with other learning
rates than the warm-up's. Everything is kept in OUT: started again, it goes on.

python scripts/study_loop.py --recipe smollm2-135m --seeds 0 1 2 --items 1000 --out runs/study
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
from kept import items_key, kept

from iterft import Iterator, Recipe, build
from iterft.data import by_tool_list
from iterft.synth.tasks import generate
from iterft.types import Checkpoint, Sample

ARMS = ("warm-up", "loop", "more SFT")
FAIR = 0.95
"""The least part of the iterations' time that more SFT is to have had."""
AIM = 1.05
"""The part that it is meant to have: machines do not keep their pace, and a second try costs it all again."""
MAX_TRIES = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="smollm2-135m")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=4, help="held-out items that show the same tools")
    parser.add_argument("--out", type=Path, default=Path("runs/study"))
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="key=value")
    parser.add_argument("--sft-lrs", type=float, nargs="+", default=[], metavar="LR", help="of further arms")
    options = parser.parse_args()
    passed: dict[str, list[list[bool]]] = {}
    try:
        for seed in options.seeds:
            recipe = Recipe.load(options.recipe, [*options.overrides, f"seed={seed}"])
            folder = options.out / f"seed-{seed}"
            items, results = study_seed(recipe, folder, options.items, options.queries, options.sft_lrs)
            for arm, result in results.items():
                passed.setdefault(arm, []).append(result)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    report(passed, groups_of(items) if recipe.data.held_out_source == "builtin" else np.arange(len(items)))
    return 0


def study_seed(
    recipe: Recipe, folder: Path, num_items: int, num_queries: int, sft_lrs: list[float]
) -> tuple[list[Sample], dict[str, list[bool]]]:
    """(the held-out items, arm -> whether each passed)."""
    if 0 in (recipe.warmup.num_samples, recipe.warmup.epochs):
        raise ValueError("warmup: more SFT goes at the warm-up's pace, and this recipe has none; give it samples")
    iterator = Iterator(recipe, folder / "run")
    run = iterator.run()
    items = iterator.held_out
    if recipe.data.held_out_source == "builtin":
        items = generate(num_items, 0, "held_out", queries_per_list=num_queries)
    more = more_sft(iterator, run.records, folder / "more_sft" / "checkpoint", recipe.warmup.lr)
    checkpoints = dict(zip(ARMS, (iterator.store.checkpoint(0), run.checkpoint, more), strict=True))
    for lr in sft_lrs:
        out = folder / f"more_sft_{lr:g}" / "checkpoint"
        checkpoints[f"{ARMS[-1]} at {lr:g}"] = more_sft(iterator, run.records, out, lr)
    return items, {
        arm: score(iterator, checkpoint, folder / f"scores-{arm.replace(' ', '-')}-{len(items)}.json", items)
        for arm, checkpoint in checkpoints.items()
    }


def more_sft(iterator: Iterator, records: list[dict], out: Path, lr: float) -> Checkpoint:
    """The warm-up checkpoint tuned on as many further samples as the warm-up would have taken in the time of the
    iterations, and a few more: of those that the iterations choose theirs from, again from the first when they run out.
    Where that takes less than `FAIR` of the time, again with more of them, `MAX_TRIES` times at most."""
    if out.exists():
        return Checkpoint(out)
    budget = sum(
        seconds for record in records[1:] for step, seconds in record["seconds"].items() if step != "evaluation"
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    recipe = replace(iterator.recipe, warmup=replace(iterator.recipe.warmup, lr=lr))
    start = iterator.store.checkpoint(0)
    count, taken = len(iterator.train[: iterator.recipe.warmup.num_samples]), records[0]["seconds"]["warm-up"]
    for number in range(MAX_TRIES):
        count = round(AIM * count * budget / taken)
        samples = [sample for sample, _ in zip(cycle(iterator.samples), range(count), strict=False)]
        tried = out.parent / f"try-{number}"
        shutil.rmtree(tried, ignore_errors=True)
        started = time.perf_counter()
        build.tune(recipe, iterator.base, iterator.template, start, samples, tried, iterator.log)
        taken = time.perf_counter() - started
        print(f"more SFT: {count} samples, {taken:.0f} s against {budget:.0f} s of the iterations", flush=True)
        if taken >= FAIR * budget:
            break
    tried.rename(out)
    return Checkpoint(out)


def score(iterator: Iterator, checkpoint: Checkpoint, file: Path, items: list[Sample]) -> list[bool]:
    """Whether each item passed; kept in `file`."""
    from iterft.evals.held_out import evaluate_held_out

    def scored() -> list[bool]:
        started = time.perf_counter()
        with iterator.serve(checkpoint) as policy:
            scores = evaluate_held_out(policy, iterator.world, items, iterator.log)
        kinds = {kind: round(100 * right / total, 1) for kind, (right, total) in scores.by_kind.items()}
        print(f"{file.stem}: {100 * scores.accuracy:.1f} % in {time.perf_counter() - started:.0f} s, by kind {kinds}")
        print(f"  failures {dict(scores.reasons)}", flush=True)
        return list(scores.passed.values())

    return list(kept(file, {"items": items_key(items)}, scored))


def groups_of(items: list[Sample]) -> np.ndarray:
    """The number of each item's tool list."""
    numbers = {sample.id: number for number, group in enumerate(by_tool_list(items)) for sample in group}
    return np.array([numbers[sample.id] for sample in items])


def report(passed: dict[str, list[list[bool]]], groups: np.ndarray) -> None:
    """Accuracy per seed, and paired differences with bootstrap intervals over groups of items (seeds averaged)."""
    print(f"\nheld-out accuracy in %, {len(groups)} items, one figure per seed")
    for arm, results in passed.items():
        shares = [100 * float(np.mean(result)) for result in results]
        print(f"  {arm:19s} {'  '.join(f'{share:5.1f}' for share in shares)}   mean {np.mean(shares):.1f}")
    for other in (arm for arm in passed if arm != "loop"):
        print(f"  loop - {other}: {difference(passed['loop'], passed[other], groups)}")


def difference(first: list[list[bool]], second: list[list[bool]], groups: np.ndarray) -> str:
    """In points, with a bootstrap interval over groups of items; seeds are averaged."""
    gap = np.mean(np.array(first, dtype=float) - np.array(second, dtype=float), axis=0)
    sizes, sums = np.bincount(groups), np.bincount(groups, weights=gap)
    picks = np.random.default_rng(0).integers(0, len(sums), size=(10_000, len(sums)))
    low, high = np.percentile(100 * sums[picks].sum(axis=1) / sizes[picks].sum(axis=1), [2.5, 97.5])
    return f"{100 * gap.mean():+.1f} points, 95 % interval [{low:+.1f}, {high:+.1f}]"


if __name__ == "__main__":
    sys.exit(main())
