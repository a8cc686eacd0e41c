"""The loop on a file of data: what warm-up and iterations change, on a file of unseen tools and on BFCL.

Runs the recipe with `data.train` = TRAIN, then scores three checkpoints (the base, after warm-up, after the last
iteration) on every usable row of HELD_OUT and on the first LIMIT items of five BFCL categories, by the official
checker. Nothing of either is trained on. Intervals are over lists of tools. Everything is kept in OUT: started again,
it goes on.

python scripts/study_data.py --train rows.jsonl.gz --held-out unseen.jsonl.gz --out runs/data
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from kept import kept
from study_loop import score

from iterft import Iterator, Recipe, build
from iterft.data import by_tool_list
from iterft.evals.held_out import interval_over_lists
from iterft.types import Checkpoint

CATEGORIES = ["simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="smollm2-135m")
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=100, help="items of each BFCL category")
    parser.add_argument("--without-base", action="store_true", help="its row does not depend on the settings")
    parser.add_argument("--out", type=Path, default=Path("runs/data"))
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="key=value")
    options = parser.parse_args()
    files = [f"data.train={options.train}", f"data.held_out={options.held_out}"]
    bfcl = [f"eval.bfcl=[{','.join(CATEGORIES)}]", f"eval.bfcl_limit={options.limit}"]
    try:
        recipe = Recipe.load(options.recipe, [*files, *options.overrides])
        run = Iterator(recipe, options.out / "run")
        done = run.run()
        everything = Recipe.load(options.recipe, [*files, *options.overrides, *bfcl, "data.num_held_out=1000000"])
        data = build.data(everything, None)
        items = data.held_out
        left_out = {reason: count for reason, count in data.dropped.items() if reason.startswith("held_out")}
        print(f"{len(items)} rows of {options.held_out} are scored, left out: {left_out or 'none'}")
        rows = {}
        checkpoints = {
            "base": Checkpoint(None),
            "warm-up": run.store.checkpoint(0),
        }
        if recipe.iters:
            checkpoints[f"iteration {recipe.iters}"] = done.checkpoint
        for name, checkpoint in list(checkpoints.items())[options.without_base :]:
            stem = name.replace(" ", "-")
            passed = score(run, checkpoint, options.out / f"scores-{stem}.json", items)
            rows[name] = (passed, score_bfcl(run, everything, checkpoint, options.out / f"bfcl-{stem}.json"))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for record in done.records:
        print(f"iteration {record['iteration']}: {record['seconds']}")
    print(f"\n{'checkpoint':14}{f'{len(items)} rows of unseen tools':>32}" + "".join(f"{c:>19}" for c in CATEGORIES))
    for name, (passed, scores) in rows.items():
        is_right = dict(zip((item.id for item in items), passed, strict=True))
        low, high = interval_over_lists([[is_right[item.id] for item in group] for group in by_tool_list(items)])
        shown = f"{100 * sum(passed) / len(passed):.1f} [{100 * low:.1f}, {100 * high:.1f}]"
        cells = (f"{scores[c]['num_correct']} of {scores[c]['num_items']}" for c in CATEGORIES)
        print(f"{name:14}{shown:>32}" + "".join(f"{cell:>19}" for cell in cells))
    return 0


def score_bfcl(run: Iterator, recipe: Recipe, checkpoint: Checkpoint, file: Path) -> dict[str, dict[str, int]]:
    """Category -> right items and items; kept in `file`."""

    def scored() -> dict[str, Any]:
        with run.serve(checkpoint) as policy:
            scores = build.evaluate_bfcl(recipe, policy, run.world, run.log)
        print(f"{file.stem}: {scores}", flush=True)
        return dict(scores)

    return dict(kept(file, bfcl_key(recipe.eval.bfcl_limit), scored))


def bfcl_key(limit: int) -> dict[str, Any]:
    """Tells such scores apart."""
    return {"categories": CATEGORIES, "limit": limit}


if __name__ == "__main__":
    sys.exit(main())
