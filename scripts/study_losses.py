"""Which preference loss? One update from the same warm-up on the same pairs with each (docs/results.md).

RUN is a run folder whose first iteration is done, best one per seed (`scripts/study_loop.py` leaves such): with its
pairs its warm-up's checkpoint is updated once per loss, and each result is scored on the same held-out items
of unseen tools, the warm-up too. Printed: accuracy, the difference from the first loss with an interval over groups of
items that show the same tools (runs averaged), and by how many nats the chosen and the rejected sides of the pairs have
moved. Everything is kept in OUT: started again, it goes on.

python scripts/study_losses.py runs/study/seed-{0,1,2}/run --items 400 --out runs/losses
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from kept import kept
from study_loop import difference, groups_of, score

from iterft import Iterator, Recipe
from iterft.stages.dpo import DpoStage
from iterft.store import finished_checkpoint
from iterft.synth.tasks import generate
from iterft.types import Checkpoint, Experience, PreferencePair, Sample

LOSSES: dict[str, dict[str, Any]] = {
    "sigmoid+sft, beta 1": {"loss_types": ["sigmoid", "sft"], "beta": 1.0},
    "sigmoid+sft": {"loss_types": ["sigmoid", "sft"], "beta": 0.1},
    "sigmoid": {"loss_types": ["sigmoid"], "beta": 0.1},
    "ipo+sft": {"loss_types": ["ipo", "sft"], "beta": 0.1},
    "apo_zero+sft": {"loss_types": ["apo_zero", "sft"], "beta": 0.1},
    "simpo+sft": {"loss_types": ["simpo", "sft"], "beta": 2.5, "gamma": 0.5},
    "orpo+sft": {"loss_types": ["orpo", "sft"], "beta": 0.1},
    "cpo+sft": {"loss_types": ["cpo", "sft"], "beta": 0.1},
    "sft": {"loss_types": ["sft"], "beta": 0.1},
}
"""Betas as their papers or iTool's code have them; the first row is the default."""
BEFORE = "before the update"


@dataclass(frozen=True)
class Row:
    """Of one loss on one run: which items passed, and how far the sides of the pairs have moved, in nats."""

    passed: list[bool]
    chosen: float = 0.0
    rejected: float = 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--losses", nargs="+", choices=list(LOSSES), default=list(LOSSES), metavar="LOSS")
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("runs/losses"))
    options = parser.parse_args()
    items = generate(options.items, 0, "held_out", queries_per_list=8)
    rows: dict[str, list[Row]] = {name: [] for name in (BEFORE, *options.losses)}
    for number, run in enumerate(options.runs):
        try:
            iterator = Iterator(Recipe.load(run / "recipe.yaml"), run, quiet=True)
            iterator.prepare()
            finished_checkpoint(run, 1)  # else there are no pairs
            kept(options.out / f"{number}-run.json", {"run": str(run.resolve())}, lambda: None)
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        pairs = iterator.store.read_pairs(1)
        print(f"{run}: {len(pairs)} pairs, {sum(not pair.rejected_ids for pair in pairs)} of them anchors", flush=True)
        file = f"scores-{len(items)}.json"
        warm = iterator.store.checkpoint(0)
        rows[BEFORE].append(Row(score(iterator, warm, options.out / f"{number}-{BEFORE}" / file, items)))
        for name in options.losses:
            folder = options.out / f"{number}-{name}"
            checkpoint = update(iterator, pairs, LOSSES[name], folder)
            passed = score(iterator, checkpoint, folder / file, items)
            rows[name].append(Row(passed, *drift(iterator, checkpoint, pairs, folder / "drift.json")))
    report(rows, items)
    return 0


def update(iterator: Iterator, pairs: tuple[PreferencePair, ...], changes: dict[str, Any], folder: Path) -> Checkpoint:
    """The warm-up's checkpoint after one update on the pairs."""
    out = folder / "checkpoint"
    if out.exists():
        return Checkpoint(out)
    recipe = iterator.recipe
    settings = replace(recipe.stage, **changes, loss_weights=[1.0] * len(changes["loss_types"]))
    stage = DpoStage(iterator.base, iterator.tokenizer, recipe.model, settings, recipe.seed, iterator.log)
    out.parent.mkdir(parents=True, exist_ok=True)
    return stage(iterator.store.checkpoint(0), Experience((), pairs), out)


def report(rows: dict[str, list[Row]], items: list[Sample]) -> None:
    print(f"\n{len(items)} held-out items, one figure per run; nats against before the update")
    groups = groups_of(items)
    first = next(name for name in rows if name != BEFORE)
    for name, results in rows.items():
        accuracies = [100 * fmean(row.passed) for row in results]
        spread = f" +- {stdev(accuracies):.1f}" if len(accuracies) > 1 else ""
        calls, no_calls = (fmean(share) for share in zip(*(by_need(items, row.passed) for row in results), strict=True))
        print(
            f"  {name:20s} accuracy {'  '.join(f'{value:5.1f}' for value in accuracies)}   mean {fmean(accuracies):.1f}"
            f"{spread}   call needed {calls:.1f}   none needed {no_calls:.1f}   chosen"
            f" {fmean(row.chosen for row in results):+.2f}   rejected {fmean(row.rejected for row in results):+.2f}"
        )
    for name in rows:
        if name != first:
            gap = difference([row.passed for row in rows[first]], [row.passed for row in rows[name]], groups)
            print(f"  {first} - {name}: {gap}")


def by_need(items: list[Sample], passed: list[bool]) -> tuple[float, float]:
    """Accuracy in % where a call is needed, and where none is: a policy that always refuses is good at the latter."""
    needs = [bool(sample.answer) for sample in items]
    calls, no_calls = (
        [right for right, need in zip(passed, needs, strict=True) if need == wanted] for wanted in (True, False)
    )
    return 100 * fmean(calls), 100 * fmean(no_calls)


def drift(
    iterator: Iterator, checkpoint: Checkpoint, pairs: tuple[PreferencePair, ...], file: Path
) -> tuple[float, float]:
    """Mean change of the log-prob of the chosen and of the rejected sides, in nats, over pairs that have both."""

    def moved() -> list[float]:
        both = [pair for pair in pairs if pair.rejected_ids]
        prompts = [pair.prompt_ids for pair in both]
        with iterator.serve(checkpoint) as policy:
            chosen = policy.logprob(prompts, [pair.chosen_ids for pair in both])
            rejected = policy.logprob(prompts, [pair.rejected_ids for pair in both])
        return [
            fmean(sum(after) - before for after, before in zip(scores, known, strict=True))
            for scores, known in (
                (chosen, [pair.chosen_logprob for pair in both]),
                (rejected, [pair.rejected_logprob for pair in both]),
            )
        ]

    chosen_drift, rejected_drift = kept(file, {"pairs": len(pairs)}, moved)
    return chosen_drift, rejected_drift


if __name__ == "__main__":
    sys.exit(main())
