"""What is data of the rules backend worth beside real rows? (docs/synthesis.md, "What the rules backend cannot do")

Four arms: NUM samples of the rules backend; NUM rows of REAL that break no rule; half and half; the same NUM rows,
augmented. For each seed and arm the base is tuned once (the warm-up's SFT, nothing else) and scored on the first LIMIT
items of five BFCL categories by the official checker, which nothing is trained on. Arms see equal numbers of learnt
tokens, those that a loss is on: as many as the longest of them has in one pass; the others go over their samples again.
Printed per arm: accuracy by category, and on which share of the items that are due a call one was made, as who never
calls is right about irrelevance. Means over seeds, with the lowest and the highest. Everything is kept in OUT: started
again, it goes on. --arms trains some of them, on as many tokens as if it were all; --share and --alone-share are those
of synthesize.py.

python scripts/study_worth.py --real rows.jsonl.gz --seeds 0 1 --limit 100 --out runs/worth
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from statistics import fmean

from kept import kept
from study_data import CATEGORIES, bfcl_key, score_bfcl

from iterft import Iterator, Recipe, build
from iterft.synth.rows import line_of, replacing, row_of
from iterft.types import Checkpoint, Sample

SYNTHESIZE = Path(__file__).parent / "synthesize.py"
AUGMENTED = (
    "data.no_call_share=0.2",
    "data.parallel_share=0.1",
    "data.distractor_share=0.5",
    "data.shuffled_share=0.5",
    "data.masked_share=0.3",
)
ARMS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "rules": ("rules", ()),
    "real": ("real", ()),
    "rules+real": ("mixed", ()),
    "real-augmented": ("real", AUGMENTED),
}
"""Arm -> (which file of samples, settings beside it)."""
ALL = 1_000_000

Scores = Mapping[str, Mapping[str, int]]
"""BFCL category -> counts, as `build.evaluate_bfcl` gives them."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, metavar="FILE", help="real rows, of any form")
    parser.add_argument("--recipe", default="smollm2-135m")
    parser.add_argument("--num", type=int, default=600, help="samples of an arm, before augmentation")
    parser.add_argument("--evolve", type=int, default=1293, help="tools of the rules backend beside the built-in ones")
    parser.add_argument(
        "--share", action="append", default=[], metavar="KIND=SHARE", help="of the rules samples, by kind of dialogue"
    )
    parser.add_argument("--alone-share", type=float, default=0.0, help="of the rules dialogues, see synthesize.py")
    parser.add_argument("--arms", nargs="+", default=[*ARMS], choices=[*ARMS], metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--limit", type=int, default=100, help="items of each BFCL category")
    parser.add_argument("--out", type=Path, default=Path("runs/worth"))
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="key=value")
    options = parser.parse_args()
    try:
        results = [study_seed(options, seed, options.out / f"seed-{seed}") for seed in options.seeds]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print_arms(results, options.arms, options.limit)
    return 0


def study_seed(options: argparse.Namespace, seed: int, folder: Path) -> dict[str, Scores]:
    """Arm -> its scores."""
    names = ("real", "recipe", "num", "evolve", "share", "alone_share", "overrides")
    settings = {name: getattr(options, name) for name in names}
    kept(folder / "options.json", settings, lambda: None)
    files = {arm: folder / f"bfcl-{arm}.json" for arm in options.arms}
    if not all(file.exists() for file in files.values()):
        arms = prepared_arms(options, seed, folder)
        samples = equally_long(arms)
        for arm, file in files.items():
            if not file.exists():
                checkpoint = tuned(arms[arm], samples[arm], folder / "runs" / arm / "checkpoint")
                score_bfcl(arms[arm], arms[arm].recipe, checkpoint, file)
    return {arm: kept(file, bfcl_key(options.limit), lambda: None) for arm, file in files.items()}


def prepared_arms(options: argparse.Namespace, seed: int, folder: Path) -> dict[str, Iterator]:
    """Arm -> a run of its data, prepared and never run. ValueError when the real rows are too few."""
    data = {name: folder / f"{name}.jsonl" for name in ("rules", "clean", "real", "mixed")}
    making = ("--out", data["rules"], "-n", options.num, "--evolve", options.evolve, "--seed", seed)
    asked = [part for share in options.share for part in ("--share", share)]
    asked += ["--alone-share", options.alone_share]
    made(data["rules"], *making, *asked, "--against", "bfcl")
    made(data["clean"], "--check", options.real, "--out", data["clean"])
    bfcl = [f"eval.bfcl=[{','.join(CATEGORIES)}]", f"eval.bfcl_limit={options.limit}"]

    def prepared(name: str, file: Path, overrides: Sequence[str]) -> Iterator:
        own = [f"data.train={file}", "data.held_out=builtin", "data.num_held_out=1", f"data.num_train={ALL}"]
        recipe = Recipe.load(options.recipe, [*own, *bfcl, *options.overrides, *overrides, f"seed={seed}"])
        run = Iterator(recipe, folder / "runs" / name)
        run.prepare()
        return run

    if not data["mixed"].exists():
        rules = prepared("all-rules", data["rules"], ()).train
        real = prepared("all-clean", data["clean"], ()).train
        if min(len(rules), len(real)) < options.num:
            raise ValueError(
                f"--num {options.num}: only {len(rules)} rules samples and {len(real)} rows of {options.real} are "
                "sound and short enough (data.max_prompt_tokens); ask for fewer"
            )
        write(data["real"], real[: options.num])
        write(data["mixed"], [*rules[: options.num // 2], *real[: options.num - options.num // 2]])
    return {arm: prepared(arm, data[name], overrides) for arm, (name, overrides) in ARMS.items()}


def made(out: Path, *arguments: object) -> None:
    """Has `synthesize.py` make a file. ValueError when it cannot."""
    if out.exists():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([sys.executable, SYNTHESIZE, *map(str, arguments)], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise ValueError(f"{out}: {done.stderr.strip() or 'fewer samples than asked for'}")


def write(out: Path, samples: Sequence[Sample]) -> None:
    with replacing(out) as file:
        file.writelines(line_of(row_of(sample)) for sample in samples)


def equally_long(arms: Mapping[str, Iterator]) -> dict[str, list[Sample]]:
    """The samples of each arm, repeated until as much is learnt as in one pass of the longest. Says how much that
    is."""
    learnt = {
        arm: [len(build.learnt_row(run.recipe, run.template, sample)[1]) for sample in run.train]
        for arm, run in arms.items()
    }
    budget = max(map(sum, learnt.values()))
    repeated = {}
    for arm, run in arms.items():
        samples, total = [], 0
        for sample, count in cycle(zip(run.train, learnt[arm], strict=True)):
            if total >= budget:
                break
            samples.append(sample)
            total += count
        repeated[arm] = samples
        passes = f"{len(samples) / len(run.train):.2f} passes"
        print(f"{arm}: {len(run.train)} samples, {passes}, {total:,} learnt tokens", flush=True)
    return repeated


def tuned(run: Iterator, samples: Sequence[Sample], out: Path) -> Checkpoint:
    if out.exists():
        return Checkpoint(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    return run.tune(Checkpoint(None), samples, out)


def print_arms(results: Sequence[Mapping[str, Scores]], arms: Sequence[str], limit: int) -> None:
    """`results`: per seed, arm -> scores."""
    print(f"\nBFCL (Python, single turn), first {limit} items of a category, in %; {len(results)} seeds")
    print(f"{'arm':17}" + "".join(f"{name:>22}" for name in (*CATEGORIES, "calls where due")))
    for arm in arms:
        rows = [shares(scores[arm]) for scores in results]
        cells = (f"{fmean(each):.1f} [{min(each):.1f}, {max(each):.1f}]" for each in zip(*rows, strict=True))
        print(f"{arm:17}" + "".join(f"{cell:>22}" for cell in cells))


def shares(scores: Scores) -> list[float]:
    """Accuracy in % by category, then the share of calls where one is due."""
    due = [scores[name] for name in CATEGORIES if name != "irrelevance"]
    calling = sum(each["num_calling"] for each in due) / sum(each["num_items"] for each in due)
    return [*(100 * scores[name]["num_correct"] / scores[name]["num_items"] for name in CATEGORIES), 100 * calling]


if __name__ == "__main__":
    sys.exit(main())
