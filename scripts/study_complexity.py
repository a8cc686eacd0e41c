"""Does the share of samples inside the range of complexity rise from round to round, and by more than luck would do?
(docs/synthesis.md, "Self-guided complexity")

The policy is the recipe's after its warm-up. Dialogues about the built-in tools, or those of --tools, are drawn and
measured once. Then two arms remake what is outside the range, round after round:

    guided    as scripts/synthesize.py --complexity does
    redrawn   one more draw like the first ones in its place, which stays under the same condition

Everything is kept in OUT: started again, it goes on.

python scripts/study_complexity.py [--recipe smollm2-135m] [-n 600] [--rounds 4] [--plot docs/complexity.svg]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from checking import judge
from plots import plot_file
from synthesize import worded

from iterft import Iterator, Recipe
from iterft.journal import append_to_journal, read_journal
from iterft.learner import learner_of
from iterft.log import Log
from iterft.synth.complexity import Learner
from iterft.synth.levers import fit
from iterft.synth.near import NearDuplicates
from iterft.synth.pipeline import Order, nothing_yet, synthesize
from iterft.synth.redraw import redrawing
from iterft.synth.rounds import Entry, Remake, Rounds, Standing, guide, told_probe
from iterft.synth.stock import Stock, built_in_tools, stock_of
from iterft.toolsets.forms import load_toolset


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="smollm2-135m")
    parser.add_argument("--tools", type=Path, metavar="FILE")
    parser.add_argument("-n", "--num", type=int, default=600, help="samples")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--probe", type=int, default=200, help="samples that tell the range")
    parser.add_argument("--seed", type=int, default=0, help="of the samples")
    parser.add_argument("--out", type=Path, default=Path("runs/complexity"))
    parser.add_argument("--plot", type=plot_file, metavar="FILE", help="shares and complexities (needs matplotlib)")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="key=value")
    options = parser.parse_args()
    try:
        Iterator(Recipe.load(options.recipe, [*options.overrides, "iters=0"]), options.out / "run").run()
        learner = learner_of(str(options.out / "run"), Log())
        arms = study(options, learner)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    report(arms)
    if options.plot:
        draw(arms, options.plot)
    return 0


def study(options: argparse.Namespace, learner: Learner) -> dict[str, Rounds]:
    """Arm -> its rounds. Both go on from the same first one."""
    made = worded(load_toolset(options.tools).definitions, options.tools)[0] if options.tools else built_in_tools()
    stock = stock_of(list(made))
    thinks = learner.world.dialect.thinks
    order = Order(options.num, options.seed, "study", thinks, frozenset(), judge(grounding=False))
    setting = f"{options.num}-{options.seed}-{options.probe}" + (f"-{options.tools.stem}" if options.tools else "")
    first = options.out / f"first-{setting}.jsonl"

    def rounds_of(journals: Sequence[Path], num_rounds: int, remake_of: Callable[[NearDuplicates], Remake]) -> Rounds:
        """The rounds as far as the journals tell them, and on to the last of `num_rounds`, told to the last journal."""
        progress = nothing_yet(stock)
        dialogues: list[Entry] = [entry for entry in synthesize(stock, order, progress) if entry["rows"]]
        rounds = Rounds(dialogues, progress.texts)
        for item in (item for journal in journals for item in read_journal(journal)):
            rounds.add(item)
        tuned = options.out / f"tuned-{setting}"
        tuned.mkdir(exist_ok=True)
        remake = remake_of(progress.texts)
        for item in guide(rounds, learner, remake, num_rounds, options.probe, tuned / "checkpoint", Log()):
            append_to_journal(journals[-1], item)
        return rounds

    arms = {}
    rounds_of([first], 1, lambda texts: redrawing(stock, order, texts))
    for arm, remake_of in arms_of(stock, order).items():
        print(f"{arm}:", flush=True)
        arms[arm] = rounds_of([first, options.out / f"{arm}-{setting}.jsonl"], options.rounds, remake_of)
    return arms


def arms_of(stock: Stock, order: Order) -> dict[str, Callable[[NearDuplicates], Remake]]:
    def plain(texts: NearDuplicates) -> Remake:
        redraw = redrawing(stock, order, texts, levels=[0])

        def remake(entry: Entry, number: int, attempt: int, *, harder: bool) -> Sequence[dict[str, Any]]:
            return redraw(entry, number, attempt, harder=harder)[:1]

        return remake

    return {"guided": lambda texts: redrawing(stock, order, texts), "redrawn": plain}


def report(arms: dict[str, Rounds]) -> None:
    rounds = next(iter(arms.values()))
    print(f"\n{told_probe(rounds.found)}")
    print(f"\n{'':10}" + "".join(f"{arm:>62}" for arm in arms))
    columns = f"{'inside':>14}{'too easy':>12}{'too hard':>12}{'of the remade':>24}"
    print(f"{'round':10}" + columns * len(arms))
    for number, standings in enumerate(zip(*(each.standings for each in arms.values()), strict=True), start=1):
        print(f"{number:<10}" + "".join(map(cells, standings)))
    print("\none more of these makes the complexity so many times what it is, other things equal")
    for name, slope in fit(rounds.measured).slopes.items():
        print(f"  {name:26}{np.exp(slope):6.2f}")


def cells(standing: Standing) -> str:
    total = standing.total
    landed = f"{standing.landed} of {standing.measured} inside" if standing.measured else ""
    shares = f"{standing.inside / total:14.1%}{standing.too_easy / total:12.1%}{standing.too_hard / total:12.1%}"
    return f"{shares}{landed:>24}"


def draw(arms: dict[str, Rounds], file: Path) -> None:
    from matplotlib import pyplot

    figure, (shares, spread) = pyplot.subplots(1, 2, figsize=(8, 3))
    for arm, rounds in arms.items():
        points = [100 * standing.inside / standing.total for standing in rounds.standings]
        shares.plot(range(1, len(points) + 1), points, marker="o", label=arm)
    shares.set(xlabel="round", ylabel="samples inside the range, %", ylim=(0, 100), xticks=range(1, len(points) + 1))
    shares.legend(frameon=False)
    rounds = arms["guided"]
    first = [loss for _, loss in rounds.measured[: rounds.standings[0].total]]
    last = [row["provenance"]["complexity"] for row in rounds.rows() if row["answer"]]
    edges = np.geomspace(min(first + last), max(first + last), 30)
    for losses, label in ((first, "round 1"), (last, f"round {len(points)}, guided")):
        spread.hist(losses, bins=edges, histtype="step", label=label)
    bounds = rounds.bounds
    spread.axvspan(max(bounds.lower, edges[0]), min(bounds.upper, edges[-1]), alpha=0.15, label="range")
    spread.set(xlabel="complexity (nats per token)", ylabel="samples with calls", xscale="log")
    spread.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(file)
    print(f"drawn: {file}")


if __name__ == "__main__":
    sys.exit(main())
