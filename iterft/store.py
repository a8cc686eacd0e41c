"""The run folder: the only state of a run. Every file is written to a temporary name and renamed.

    runs/<recipe>-<n>/recipe.yaml  metrics.jsonl
        iter_000/                          warm-up
        iter_001/{samples,trees,pairs}.jsonl  checkpoint/  scores.json  done.json

An iteration counts once its `done.json` is there, which is written last (until then `seconds.json` has its times);
whatever an interrupted iteration left before that is either complete (a file) or resumable (the journal of trees).
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from iterft.journal import append_to_journal, locked, read_journal
from iterft.negatives import find
from iterft.recipe import Recipe
from iterft.types import (
    Check,
    Checked,
    Checkpoint,
    Completion,
    Node,
    PreferencePair,
    Sample,
    Standing,
    Step,
    Tree,
)

MINIMUM_FREE_BYTES = 2 * 1024**3
RECIPE = "recipe.yaml"
DATA = "data.sha256"
ENGINE_LOG = "vllm.log"
MAY_CHANGE = frozenset({
    "iters", "report_to", "model.max_activation_tokens", "policy.max_rows", "policy.kv_cache_gib",
    "policy.gpu_memory_share", "policy.stall_seconds", "warmup.batch_tokens", "stage.batch_tokens",
    "grpo.min_call_share", "grpo.min_entropy",
})  # fmt: skip
"""Settings that a run may go on with changed: how far it goes, what the machine can take, when a guard stops it."""
FINDS_MORE = frozenset({"deficiency.num_candidates", "search.num_simulations", "pairs.min_margin"})
"""Those that may change besides where an iteration found nothing to learn from."""
FOUND_NOTHING = "found_nothing"


class Store:
    """Reads and writes one run folder."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.is_made = self.is_new = False  # folder and recipe, by this start

    @staticmethod
    def open(root: Path, name: str, recipe_yaml: str, run: Path | None) -> Store:
        """The folder to work in. Given `run`: that one (its recipe must be the same, but for `MAY_CHANGE`). Else the
        newest unfinished run of the same recipe below `root`, else a new one."""
        folder = run or unfinished_run(root, name, recipe_yaml)
        if folder is not None:
            refuse_other(folder, recipe_yaml)
        is_made = folder is None or not folder.exists()
        try:
            if folder is None:
                folder = new_run(root, name)
            else:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            place = folder or root
            raise ValueError(f"--run {place}: cannot be made ({error.strerror}); give another folder") from error
        store = Store(folder)
        known = folder / RECIPE
        store.is_made, store.is_new = is_made, not known.exists()
        free = shutil.disk_usage(folder).free
        if free < MINIMUM_FREE_BYTES:
            raise ValueError(
                f"{folder}: {free / 1024**3:.1f} GiB of disk space are free, a run wants "
                f"{MINIMUM_FREE_BYTES / 1024**3:.0f}; make room or give --run on another disk"
            )
        if store.is_new:
            store.write_text(known, recipe_yaml)
        return store

    def start(self, recipe_yaml: str) -> None:
        """Keeps the recipe that is run from now on, see `MAY_CHANGE`. To be called in `locked`."""
        self.write_text(self.run / RECIPE, recipe_yaml)

    def hold_data(self, digest: str) -> None:
        """Keeps the digest of the data. ValueError when the run was started with others: what is known of its samples
        would be taken for what is known of these."""
        known = self.run / DATA
        if known.exists() and known.read_text(encoding="utf-8") != digest:
            raise ValueError(
                f"--run {self.run}: its data are not those that it was started with (data.train, data.held_out, or the "
                "built-in tasks of another version); restore them, or give another folder"
            )
        self.write_text(known, digest)

    def discard_unused(self) -> None:
        """Takes away again what this start has made, recipe and folder, if nothing of a run has been written yet. What
        an engine said stays."""
        if self.is_new and {path.name for path in self.run.iterdir()} <= {RECIPE, ENGINE_LOG}:
            (self.run / RECIPE).unlink(missing_ok=True)
            if self.is_made and not any(self.run.iterdir()):
                self.run.rmdir()

    def locked(self) -> AbstractContextManager[None]:
        """Nobody else works in the folder meanwhile; ValueError when somebody does."""
        refusal = f"--run {self.run}: another process is working in it; wait for it, or give another folder"
        return locked(self.run, refusal)

    def folder(self, iteration: int) -> Path:
        path = self.run / f"iter_{iteration:03d}"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def is_done(self, iteration: int) -> bool:
        return (self.run / f"iter_{iteration:03d}" / "done.json").exists()

    def commit(self, iteration: int, record: dict[str, Any]) -> None:
        """Marks the iteration as done. Nothing of it changes afterwards."""
        self.write_json(self.folder(iteration) / "done.json", record)
        for name in ("seconds.json", FOUND_NOTHING):
            (self.folder(iteration) / name).unlink(missing_ok=True)

    def read_seconds(self, iteration: int) -> dict[str, float]:
        """Step -> seconds spent on it by starts of this iteration that were interrupted."""
        path = self.run / f"iter_{iteration:03d}" / "seconds.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def write_seconds(self, iteration: int, seconds: Mapping[str, float]) -> None:
        self.write_json(self.folder(iteration) / "seconds.json", dict(seconds))

    def record(self, iteration: int) -> dict[str, Any]:
        """What `commit` was given."""
        return dict(json.loads((self.folder(iteration) / "done.json").read_text(encoding="utf-8")))

    def checkpoint(self, iteration: int) -> Checkpoint:
        """The checkpoint a finished iteration ended with."""
        path = self.record(iteration)["checkpoint"]
        return Checkpoint(self.run / path if path is not None else None)

    def journal(self, iteration: int) -> Journal:
        return Journal(self.folder(iteration) / "trees.jsonl")

    def write_text(self, path: Path, text: str) -> None:
        temporary = path.with_name(path.name + ".tmp")
        with temporary.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)

    def write_json(self, path: Path, value: Any) -> None:
        self.write_text(path, json.dumps(value, indent=1) + "\n")

    def write_check(self, iteration: int, check: Check) -> None:
        """The deficiency check's outcome; `samples.jsonl` is written last and makes it count."""
        folder = self.folder(iteration)
        standings = {key: dataclasses.asdict(standing) for key, standing in check.history.items()}
        self.write_json(folder / "history.json", standings)
        lines = []
        for item in (*check.weak, *check.mastered, *check.negatives):
            row = {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
            for key in ("completions", "references"):
                row[key] = [dataclasses.asdict(turn) for turn in row[key]]
            row["sample"] = item.sample.id
            lines.append(json.dumps(row) + "\n")
        self.write_text(folder / "samples.jsonl", "".join(lines))

    def read_check(self, iteration: int, samples: Sequence[Sample]) -> Check | None:
        """What `write_check` was given, or None when the check has not been finished."""
        path = self.folder(iteration) / "samples.jsonl"
        if not path.exists():
            return None
        by_id = {sample.id: sample for sample in samples}
        weak: list[Checked] = []
        mastered: list[Checked] = []
        negatives: list[Checked] = []
        for row in read_json_lines(path):
            turns = {
                key: tuple(
                    Completion(tuple(turn["ids"]), tuple(turn["logprobs"]), turn["finish_reason"]) for turn in row[key]
                )
                for key in ("completions", "references")
            }
            item = Checked(**{**row, "sample": find(row["sample"], by_id), **turns})
            known = mastered if item.pass_rate == 1 else weak
            (known if row["sample"] in by_id else negatives).append(item)
        return Check(tuple(weak), tuple(mastered), self.read_history(iteration), tuple(negatives))

    def forget(self, iteration: int) -> None:
        """Takes away what an iteration has found so far, which came to nothing, for it to be looked for anew, perhaps
        with other settings: see `FINDS_MORE`."""
        for name in ("samples.jsonl", "history.json", "trees.jsonl", "pairs.jsonl"):
            (self.folder(iteration) / name).unlink(missing_ok=True)
        self.write_text(self.folder(iteration) / FOUND_NOTHING, "")

    def read_history(self, iteration: int) -> dict[str, Standing]:
        """Standings after an iteration's check; none before the first."""
        path = self.run / f"iter_{iteration:03d}" / "history.json"
        if not path.exists():
            return {}
        standings = json.loads(path.read_text(encoding="utf-8"))
        return {key: Standing(**standing) for key, standing in standings.items()}

    def write_pairs(self, iteration: int, pairs: Iterable[PreferencePair]) -> None:
        lines = (json.dumps(dataclasses.asdict(pair)) + "\n" for pair in pairs)
        self.write_text(self.folder(iteration) / "pairs.jsonl", "".join(lines))

    def read_pairs(self, iteration: int) -> tuple[PreferencePair, ...]:
        """What `write_pairs` was given."""
        rows = read_json_lines(self.folder(iteration) / "pairs.jsonl")
        ids = ("prompt_ids", "chosen_ids", "rejected_ids")
        return tuple(PreferencePair(**{**row, **{key: tuple(row[key]) for key in ids}}) for row in rows)


class Journal:
    """Finished trees, appended one line each as they are done; see `journal`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Tree]:
        """sample id -> its finished tree."""
        return {tree.sample_id: tree for tree in map(tree_from_json, read_journal(self.path))}

    def append(self, tree: Tree) -> None:
        append_to_journal(self.path, tree_to_json(tree))


def finished_checkpoint(run: Path, iteration: int | None = None) -> tuple[Recipe, int, Checkpoint]:
    """(recipe of the run, the iteration, the checkpoint it ended with); without `iteration`, the last finished one's.
    ValueError when `run` is no run folder or that iteration is not finished."""
    if not (run / RECIPE).is_file():
        raise ValueError(f"{run}: not a run folder")
    store, recipe = Store(run), Recipe.load(run / RECIPE)
    done = sorted(int(file.parent.name.removeprefix("iter_")) for file in run.glob("iter_[0-9]*/done.json"))
    if not done:
        raise ValueError(f"{run}: no iteration is finished")
    chosen = done[-1] if iteration is None else iteration
    if chosen not in done:
        raise ValueError(f"--iteration {chosen}: not finished; finished are {', '.join(map(str, done))}")
    return recipe, chosen, store.checkpoint(chosen)


def recipe_and_checkpoint(name: str) -> tuple[Recipe, Checkpoint, str]:
    """(recipe, checkpoint, how it is called) of the run folder `name`, as it last was; or of the recipe of that name or
    file, whose checkpoint is the untouched base. ValueError as `finished_checkpoint`, or when there is no such
    recipe."""
    if not Path(name).is_dir():
        return Recipe.load(name), Checkpoint(None), f"the base of {name}"
    recipe, iteration, checkpoint = finished_checkpoint(Path(name))
    return recipe, checkpoint, f"{name}, iteration {iteration}" if iteration else f"{name}, warm-up"


def unfinished_run(root: Path, name: str, recipe_yaml: str) -> Path | None:
    """The newest run of this recipe (iters included) whose last iteration is not done. Settings that a run may go on
    with changed may be others: messages say "the same command with this one changed"."""
    for _, folder in sorted(numbered_runs(root, name).items(), reverse=True):
        known = folder / RECIPE
        if not known.exists() or is_other(folder, recipe_yaml):
            continue
        iters = int(next(line.split(":")[1] for line in recipe_yaml.splitlines() if line.startswith("iters:")))
        return None if Store(folder).is_done(iters) else folder
    return None


def is_other(folder: Path, recipe_yaml: str) -> bool:
    """Whether a run is of another recipe, or of another number of iterations."""
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    known = (folder / RECIPE).read_text(encoding="utf-8")
    if known == recipe_yaml:
        return False
    try:
        return bool(recipe_difference(known, recipe_yaml, changeable(folder) - {"iters"}))
    except (OmegaConfBaseException, YAMLError, AssertionError):  # a file that somebody has spoilt
        return True


def changeable(folder: Path) -> frozenset[str]:
    """The settings that this run may go on with changed."""
    return MAY_CHANGE | (FINDS_MORE if any(folder.glob(f"iter_*/{FOUND_NOTHING}")) else frozenset())


def refuse_other(folder: Path, recipe_yaml: str) -> None:
    """ValueError where the folder is another recipe's run, or no run and not empty."""
    known = folder / RECIPE
    if known.exists():
        difference = recipe_difference(known.read_text(encoding="utf-8"), recipe_yaml, changeable(folder))
        if difference:
            raise ValueError(
                f"--run {folder}: it was started with another recipe ({difference}); "
                "give the same settings or another folder"
            )
    elif folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - {ENGINE_LOG}):
        raise ValueError(f"--run {folder}: not empty and not a run folder; give another folder")


def new_run(root: Path, name: str) -> Path:
    """A folder of the next number, made now; each of several starts at once gets its own."""
    while True:
        folder = root / f"{name}-{max(numbered_runs(root, name), default=0) + 1}"
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder


def numbered_runs(root: Path, name: str) -> dict[int, Path]:
    """n -> the folder `<name>-<n>` in `root`."""
    there = root.iterdir() if root.is_dir() else ()
    folders = {path.name.removeprefix(f"{name}-"): path for path in there if path.name.startswith(f"{name}-")}
    return {int(number): folder for number, folder in folders.items() if number.isdecimal()}


def recipe_difference(before: str, now: str, may_change: Collection[str]) -> str:
    """The first setting that differs, those that may change aside; "" when there is none. One that an older version did
    not have was at its default."""
    old, new, usual = (flat_settings(text) for text in (before, now, Recipe().to_yaml()))
    for key in {**new, **old}:
        known, value = (settings.get(key, usual.get(key)) for settings in (old, new))
        if known != value and key not in may_change:
            return f"{key}: {known!r} there, {value!r} now"
    return ""


def flat_settings(recipe_yaml: str) -> dict[str, Any]:
    """Dotted key -> value."""
    from omegaconf import OmegaConf

    flat: dict[str, Any] = {}

    def lay(section: Mapping[str, Any], prefix: str) -> None:
        for key, value in section.items():
            if isinstance(value, dict):
                lay(value, f"{prefix}{key}.")
            else:
                flat[f"{prefix}{key}"] = value

    content = OmegaConf.to_container(OmegaConf.create(recipe_yaml))
    assert isinstance(content, dict), "a recipe is a mapping"
    lay(content, "")
    return flat


def tree_to_json(tree: Tree) -> dict[str, Any]:
    return dataclasses.asdict(tree)


def tree_from_json(row: dict[str, Any]) -> Tree:
    nodes = [Node(**{**node, "step": step_from_json(node["step"])}) for node in row["nodes"]]
    return Tree(**{**row, "prompt_ids": tuple(row["prompt_ids"]), "nodes": nodes})


def step_from_json(row: dict[str, Any]) -> Step:
    return Step(row["kind"], tuple(row["ids"]), tuple(row["logprobs"]))


def read_json_lines(path: Path) -> Iterator[Any]:
    """The objects of a JSON-lines file."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
