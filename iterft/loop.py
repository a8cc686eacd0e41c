"""The story: warm up, then again and again find what is deficient, search, mine pairs, update, evaluate.

`python -m iterft.loop --help`. Importing this module loads no torch.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iterft.journal import digest_of
from iterft.log import Log
from iterft.protocols import PolicyFailure
from iterft.recipe import DEFAULT_RECIPE, Recipe
from iterft.sources import refuse_missing
from iterft.store import Store
from iterft.surroundings import out_of_memory, quieten_libraries, refuse_many_processes, unwritable
from iterft.types import Checkpoint, Experience

if TYPE_CHECKING:
    from collections.abc import Iterator as Iterable

    from iterft.protocols import Grader, Policy
    from iterft.types import Check, Checked, Sample, Tree

RUNS = Path("runs")


@dataclass(frozen=True)
class Run:
    """What a finished run leaves: its folder, the last checkpoint, and the record of every iteration (0 = warm-up)."""

    folder: Path
    checkpoint: Checkpoint
    records: list[dict[str, Any]]


class Iterator:
    """Runs a recipe in a run folder. Started again on an unfinished folder, it goes on where it was. ValueError where
    the folder is another recipe's, a file of data is missing, and in one of several processes."""

    def __init__(self, recipe: Recipe, run: Path | None = None, *, root: Path = RUNS, quiet: bool = False) -> None:
        refuse_many_processes()
        refuse_missing_data(recipe)
        self.recipe = recipe
        self.store = Store.open(root, recipe.name, recipe.to_yaml(), run)
        self.log = Log(self.store.run / "metrics.jsonl", quiet=quiet)
        self.iteration, self.seconds = 0, self.store.read_seconds(0)

    def run(self) -> Run:
        """Warm-up, then `recipe.iters` iterations. ValueError for anything wrong with recipe, data or model."""
        with self.store.locked():
            return self.run_alone()

    def run_alone(self) -> Run:
        from iterft.trackers import report_to

        self.log.take_up()
        self.store.start(self.recipe.to_yaml())
        try:
            self.prepare()
            self.store.hold_data(digest_of([self.train, self.held_out]))
        except BaseException:
            self.store.discard_unused()
            raise
        with report_to(self.recipe.report_to, self.store.run, asdict(self.recipe), self.log):
            if not self.store.is_done(0):
                before = {"base": self.evaluate_base()} if self.recipe.eval.base else {}
                self.finish(0, self.warm_up(), before)
            for iteration in range(1, self.recipe.iters + 1):
                if not self.store.is_done(iteration):
                    self.iterate(iteration)
        records = [self.store.record(iteration) for iteration in range(self.recipe.iters + 1)]
        return Run(self.store.run, self.store.checkpoint(self.recipe.iters), records)

    def iterate(self, iteration: int) -> None:
        self.iteration, self.seconds = iteration, self.store.read_seconds(iteration)
        start = self.store.checkpoint(iteration - 1)
        experience, counts = self.explore(iteration, start)
        folder = self.store.folder(iteration)
        with self.timed("update"):
            checkpoint = self.update(iteration, start, experience, folder / "checkpoint")
        for name in self.stages:
            shutil.rmtree(folder / name, ignore_errors=True)
        self.finish(iteration, checkpoint, counts)

    def update(self, iteration: int, start: Checkpoint, experience: Experience, out: Path) -> Checkpoint:
        """What is there of an interrupted iteration is whole, and is taken."""
        from iterft.stages.interpolate import go_part_of_the_way

        if out.exists():
            return Checkpoint(out)
        checkpoint = start
        for name, optimize in self.stages.items():
            end = out.with_name(name)
            checkpoint = Checkpoint(end) if end.exists() else optimize(checkpoint, experience, end)
            gc.collect()  # trained models refer to themselves: their weights would stay beside those of what is next
        return go_part_of_the_way(start, end, self.recipe.stage.update_rate if iteration > 1 else 1.0, out)

    def explore(self, iteration: int, checkpoint: Checkpoint) -> tuple[Experience, dict[str, Any]]:
        """What the updates of an iteration learn from, and counts of it: samples the policy is weak on and pairs from
        their trees, as far as some update asks for them."""
        from iterft.pairs import NO_PAIRS, mine_pairs
        from iterft.search import lay_out

        recipe, log = self.recipe, self.log
        seed = recipe.seed * 1000 + iteration
        if not recipe.finds_deficient:
            return Experience(tuple(self.samples), (), seed), {}
        with self.serve(checkpoint) as policy:
            check = self.check(policy, iteration, seed)
            if recipe.mines_pairs:
                trees = self.search(policy, check.weak, iteration, seed)
                known = check.mastered if recipe.pairs.anchor_mastered else ()
                others = lay_out(policy, self.world, (*known, *check.negatives), recipe.search)
        samples = [item.sample for item in check.weak] if recipe.grpo.samples == "deficient" else self.samples
        counts: dict[str, Any] = {
            "deficient": len(check.weak),
            "mastered": len(check.mastered),
            "negatives": len(check.negatives),
        }
        if not recipe.mines_pairs:
            return Experience(tuple(samples), (), seed), counts
        mined = mine_pairs([*trees, *others], recipe.pairs)
        if not mined.pairs:
            self.store.forget(iteration)  # what was found leads nowhere; other settings find something else
        self.store.write_pairs(iteration, mined.pairs)
        reasons = dict(Counter(pair.reason for pair in mined.pairs).most_common())
        log.say(f"iteration {iteration}: {len(mined.pairs)} pairs from {len(trees)} trees {reasons}")
        if mined.dropped:
            log.say("  left out: " + ", ".join(f"{name} {count}" for name, count in mined.dropped.items()))
        if not mined.pairs:  # before any update: what another one learns would be of samples that are forgotten
            raise ValueError(NO_PAIRS)
        counts |= {
            "trees": len(trees),
            "nodes": sum(len(tree.nodes) for tree in trees),
            "pairs": len(mined.pairs),
            "planted_pairs": sum(pair.planted for pair in mined.pairs),
            "pairs_by_reason": reasons,
            "pairs_dropped": dict(mined.dropped),
        }
        return Experience(tuple(samples), mined.pairs, seed), counts

    def check(self, policy: Policy, iteration: int, seed: int) -> Check:
        """What the policy can and what it cannot do yet; there is something to learn from: a deficient sample, or for
        pairs an in-batch negative that fails."""
        from iterft.deficiency import find_deficient

        recipe = self.recipe
        with self.timed("deficiency"):
            check = self.store.read_check(iteration, self.samples)
            if check is None:
                history = self.store.read_history(iteration - 1)
                settings = recipe.deficiency
                check = find_deficient(
                    policy,
                    self.world,
                    self.samples,
                    history,
                    settings if recipe.mines_pairs else replace(settings, negative_share=0.0),
                    seed,
                    self.log,
                    plant=recipe.search.plant,
                    whole_turns=recipe.whole_turns,
                    max_prompt_tokens=recipe.data.max_prompt_tokens,
                )
                fails = any(item.pass_rate < 1 for item in check.negatives)
                if not check.weak and not (fails and set(recipe.stage_kinds) == {"dpo"}):
                    self.store.forget(iteration)
                    raise ValueError(
                        f"iteration {iteration}: no sample is deficient, so there is nothing to learn from; try more "
                        "candidates (the same command with deficiency.num_candidates set higher goes on), or give "
                        "harder data and another folder"
                    )
                self.store.write_check(iteration, check)
        self.log.say(
            f"iteration {iteration}: {len(check.weak)} deficient samples, {len(check.mastered)} mastered, "
            f"{len(check.negatives)} in-batch negatives"
        )
        return check

    def search(self, policy: Policy, weak: Sequence[Checked], iteration: int, seed: int) -> list[Tree]:
        from iterft.search import search

        settings = self.recipe.search
        with self.timed("search"), self.grader() as grader:
            return search(
                policy,
                self.world,
                weak,
                settings,
                seed,
                self.store.journal(iteration),
                self.log,
                whole_turns=self.recipe.whole_turns,
                grader=grader,
            )

    def prepare(self) -> None:
        """Data, tokenizer and the plug-ins of the recipe; everything that can be wrong with them is found here."""
        from iterft import build
        from iterft.models import refuse_short_context
        from iterft.remarks import remarks
        from iterft.tokens import render_prompt

        quieten_libraries()
        recipe, log = self.recipe, self.log
        build.require_packages(recipe)
        log.say(f"run folder: {self.store.run}")
        if unused := recipe.unused_settings:
            log.say(f"not used by {' and '.join(recipe.stage_kinds)}: {', '.join(unused)}")

        def count() -> Callable[[Sample], int]:
            """Once the data are read: to load a base may take minutes."""
            self.base, self.template = build.base_and_template(recipe, log)
            return lambda sample: len(render_prompt(self.template, sample.prompt))

        data = build.data(recipe, count)
        self.tokenizer = self.template.tokenizer
        longest_scored = build.longest_bfcl_prompt(recipe, self.template)
        refuse_short_context(self.base, recipe.data.max_prompt_tokens, recipe.policy.max_new_tokens, longest_scored)
        self.train, self.held_out = data.train, data.held_out
        for line in remarks(recipe, self.template, data):
            log.say(line)
        self.samples = self.train[recipe.warmup.num_samples if recipe.warms_up else 0 :] or self.train
        self.world = build.world(recipe)
        self.serve = build.serve(recipe, self.base, self.template, log)
        self.serve_evaluated = self.serve
        if recipe.eval.constrained:
            self.serve_evaluated = build.serve(recipe, self.base, self.template, log, constrained=True)
        self.stages = build.stages(recipe, self.base, self.tokenizer, self.serve, log)

    def evaluate_base(self) -> dict[str, Any]:
        """What the record says of the untouched base; kept, as the warm-up behind it may be interrupted."""
        known = self.store.folder(0) / "base.json"
        if not known.exists():
            self.store.write_json(known, self.evaluate(Checkpoint(None), "base")[1])
        outcome: dict[str, Any] = json.loads(known.read_text(encoding="utf-8"))
        return outcome

    def warm_up(self) -> Checkpoint:
        """Easy-to-hard supervised tuning on the first `warmup.num_samples` samples."""
        if not self.recipe.warms_up:
            return Checkpoint(None)
        out = self.store.folder(0) / "checkpoint"
        if out.exists():
            return Checkpoint(out)
        with self.timed("warm-up"):
            return self.tune(Checkpoint(None), self.train[: self.recipe.warmup.num_samples], out)

    def tune(self, checkpoint: Checkpoint, samples: Sequence[Sample], out: Path) -> Checkpoint:
        """Supervised tuning of a checkpoint on the reference turns of `samples`, see `build.tune`."""
        from iterft import build

        return build.tune(self.recipe, self.base, self.template, checkpoint, samples, out, self.log)

    @contextmanager
    def grader(self) -> Iterable[Grader | None]:
        """The warm-up's checkpoint as a grader, if grades count for anything."""
        from iterft import build

        if self.recipe.search.self_weight == 0:
            yield None
        else:
            with self.serve(self.store.checkpoint(0)) as policy:
                yield build.grader(policy)

    def finish(self, iteration: int, checkpoint: Checkpoint, counts: dict[str, Any]) -> None:
        """Evaluates the checkpoint and commits the iteration."""
        passed, outcome = self.evaluate(checkpoint, f"iteration {iteration}" if iteration else "warm-up")
        folder = self.store.folder(iteration)
        self.store.write_json(folder / "scores.json", {"passed": passed, "bfcl": outcome["bfcl"]})
        record = {
            "iteration": iteration,
            "checkpoint": checkpoint.path and str(checkpoint.path.relative_to(self.store.run)),
            **outcome,
            **counts,
            "seconds": {step: round(seconds, 1) for step, seconds in self.seconds.items()},
        }
        self.store.commit(iteration, record)
        self.log.metric("iteration", **record)

    def evaluate(self, checkpoint: Checkpoint, name: str) -> tuple[dict[str, bool], dict[str, Any]]:
        """(whether each held-out sample passed, what the record says of that and of BFCL). Says the accuracy."""
        from iterft import build
        from iterft.evals.held_out import evaluate_held_out

        with self.timed("evaluation"), self.serve_evaluated(checkpoint) as policy:
            scores = evaluate_held_out(policy, self.world, self.held_out, self.log)
            bfcl = build.evaluate_bfcl(self.recipe, policy, self.world, self.log) if self.recipe.eval.bfcl else {}
        low, high = scores.interval
        self.log.say(f"{name}: held-out accuracy {100 * scores.accuracy:.1f} % [{100 * low:.1f}, {100 * high:.1f}]")
        return dict(scores.passed), {
            "accuracy": scores.accuracy,
            "interval": scores.interval,
            "by_kind": dict(scores.by_kind),
            "reasons": dict(scores.reasons),
            "bfcl": bfcl,
        }

    @contextmanager
    def timed(self, step: str) -> Iterable[None]:
        """Adds to the seconds of the iteration under way, which are kept when it is interrupted."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started
            self.store.write_seconds(self.iteration, self.seconds)


def refuse_missing_data(recipe: Recipe) -> None:
    """ValueError where the recipe names a file of data that is not there; before torch, which takes its time."""
    for key, source in (("data.train", recipe.data.train), ("data.held_out", recipe.data.held_out_source)):
        if source not in ("", "builtin"):
            refuse_missing(source, key)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m iterft.loop",
        description="Train a language model to call tools: warm-up, then deficiency, search, pairs, update.",
    )
    parser.add_argument("--recipe", default=DEFAULT_RECIPE, help="shipped recipe or YAML file (default %(default)s)")
    parser.add_argument("--iters", type=int, help="iterations after warm-up (default: the recipe's)")
    parser.add_argument("--run", type=Path, help="run folder (default: runs/<recipe>-<n>, an unfinished one goes on)")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="key=value",
                        help="override a setting of the recipe; may be given again")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="check and print the whole recipe, run nothing")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 2 for bad input, 1 when the engine failed, 130 when interrupted."""
    options = parse_arguments(arguments)
    try:
        overrides = [*options.overrides, *([f"iters={options.iters}"] if options.iters is not None else [])]
        recipe = Recipe.load(options.recipe, overrides)
        if options.dry_run:
            refuse_missing_data(recipe)
            print(recipe.to_yaml(), end="")
            return 0
        run = Iterator(recipe, options.run).run()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {unwritable(error, 'run folder')}", file=sys.stderr)
        return 2
    except PolicyFailure as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        print(f"error: {out_of_memory(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130
    from iterft.report.table import print_table

    print_table(run.records)
    print(f"run folder: {run.folder}")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # how schedulers stop a job: as Ctrl-C does
    status = main()
    exec("")  # else an interrupt that fell into an exec(), though caught, ends `python -m` by SIGINT, not by `status`
    sys.exit(status)
