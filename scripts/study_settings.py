"""Which settings hold over several iterations? (docs/results.md, "Ten tools of one's own")

From the warm-up of each RUN (a run folder) the loop goes again, once for each `--arm NAME key=value ...`: the recipe of
the run with these settings. Printed per arm: held-out accuracy after the warm-up and after each iteration, one figure
per run, and for the last iteration what was right by kind and what the failures were. Kept in OUT: started again, it
goes on.

python scripts/study_settings.py runs/workshop --iters 3 --arm "as it was" --arm "beta 1" stage.beta=1
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from pathlib import Path
from statistics import fmean

from iterft import Iterator, Recipe
from iterft.store import finished_checkpoint


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--iters", type=int, default=3)
    parser.add_argument(
        "--arm", dest="arms", nargs="+", action="append", required=True, metavar=("NAME", "key=value"),
        help="a set of settings; may be given again",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("runs/settings"))
    options = parser.parse_args()
    records: dict[str, list[list[dict]]] = {}
    try:
        for name, *settings in options.arms:
            records[name] = [go(run, [*settings, f"iters={options.iters}"], options.out, name) for run in options.runs]
            report(name, records[name])
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\nheld-out accuracy in %, mean over runs")
    for name, runs in records.items():
        means = [100 * fmean(record["accuracy"] for record in same) for same in zip(*runs, strict=True)]
        print(f"  {name:24s} {' -> '.join(f'{mean:.1f}' for mean in means)}")
    return 0


def go(run: Path, settings: list[str], out: Path, name: str) -> list[dict]:
    """The records of a run that begins with the warm-up of another one."""
    _, _, checkpoint = finished_checkpoint(run, 0)
    recipe = Recipe.load(run / "recipe.yaml", settings)
    folder = out / "-".join(run.resolve().parts[1:]) / name.replace(" ", "-")
    if not (folder / "recipe.yaml").exists():
        folder.mkdir(parents=True, exist_ok=True)
        if checkpoint.path is not None:
            shutil.copytree(checkpoint.path.parent, folder / "iter_000", dirs_exist_ok=True)
        (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    return Iterator(recipe, folder).run().records


def report(name: str, runs: list[list[dict]]) -> None:
    print(f"\n{name}")
    for records in runs:
        print("  " + " -> ".join(f"{100 * record['accuracy']:.1f}" for record in records))
    kinds: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for *_, last in runs:
        reasons.update(last["reasons"])
        for kind, (right, total) in last["by_kind"].items():
            kinds[kind] += right
            totals[kind] += total
    print("  at the end right: " + ", ".join(f"{kind} {kinds[kind]} of {totals[kind]}" for kind in totals))
    print("  failures: " + ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()), flush=True)


if __name__ == "__main__":
    sys.exit(main())
