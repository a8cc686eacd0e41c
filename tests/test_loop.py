"""The whole loop on a tiny random model: it runs, it goes on after any kill, and a seed says everything."""

from __future__ import annotations

import errno
import gc
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from iterft import Iterator, Recipe, build
from iterft.loop import Run, main
from iterft.negatives import MARK
from iterft.pairs import Mined
from iterft.protocols import PolicyFailure
from iterft.report.table import print_table
from iterft.store import Journal, Store
from iterft.surroundings import quieten_libraries
from iterft.types import Check, Checkpoint, Tree

SMALL = [
    "data.num_train=30",
    "data.num_held_out=6",
    "warmup.num_samples=8",
    "deficiency.num_candidates=6",
    "policy.max_new_tokens=24",
    "search.trees_in_flight=2",  # so that a search has several groups
]


def small_recipe(*overrides: str) -> Recipe:
    return Recipe.load("debug", [*SMALL, *overrides])


def run_of(folder: Path, *overrides: str) -> Run:
    return Iterator(small_recipe(*overrides), folder, quiet=True).run()


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def assert_same_outcome(first: Path, second: Path, iters: int) -> None:
    for iteration in range(iters + 1):
        left, right = (folder / f"iter_{iteration:03d}" for folder in (first, second))
        for name in ("samples", "trees", "pairs") if iteration else ():
            assert lines_of(left / f"{name}.jsonl") == lines_of(right / f"{name}.jsonl")
        assert (left / "scores.json").read_text() == (right / "scores.json").read_text()
        records = [json.loads((folder / "done.json").read_text()) for folder in (left, right)]
        for record in records:
            record.pop("seconds")
        assert records[0] == records[1]
        weights = [load_file(folder / "checkpoint" / "adapter_model.safetensors") for folder in (left, right)]
        assert weights[0].keys() == weights[1].keys()
        for name, tensor in weights[0].items():
            assert torch.equal(tensor, weights[1][name]), "to the last bit"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two iterations that nothing has disturbed."""
    return run_of(tmp_path_factory.mktemp("runs") / "finished")


@pytest.mark.slow
def test_the_debug_recipe_runs_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--recipe", "debug"]) == 0
    shown = capsys.readouterr()
    assert "held-out accuracy" in shown.out and "warm-up" in shown.out
    assert shown.out.rstrip().endswith("run folder: runs/debug-1")
    assert shown.err == ""
    run = tmp_path / "runs" / "debug-1"
    assert {path.name for path in run.iterdir()} == {
        "recipe.yaml",
        "data.sha256",
        "metrics.jsonl",
        *(f"iter_00{n}" for n in range(3)),
    }
    for iteration in range(3):
        names = {path.name for path in (run / f"iter_00{iteration}").iterdir()}
        expected = {"checkpoint", "scores.json", "done.json"}
        assert names >= expected | ({"samples.jsonl", "trees.jsonl", "pairs.jsonl"} if iteration else set())
    assert not list(run.rglob("*.tmp"))
    events = {row["event"] for row in lines_of(run / "metrics.jsonl")}
    assert events == {"update", "forwarded", "decoded", "audit", "iteration"}
    assert Recipe.load(run / "recipe.yaml") == Recipe.load("debug")


@pytest.mark.slow
def test_a_run_returns_its_folder_its_checkpoint_and_a_record_per_iteration(finished: Run) -> None:
    assert [record["iteration"] for record in finished.records] == [0, 1, 2]
    assert finished.checkpoint.path == finished.folder / "iter_002" / "checkpoint"
    for record in finished.records[1:]:
        assert record["pairs"] == len(lines_of(finished.folder / f"iter_{record['iteration']:03d}" / "pairs.jsonl")) > 0
        assert record["trees"] == record["deficient"] > 0
        assert set(record["seconds"]) == {"deficiency", "search", "update", "evaluation"}


@pytest.mark.slow
def test_pairs_are_made_of_ids_of_their_tree(finished: Run) -> None:
    num_prose_tokens = small_recipe().pairs.num_prose_tokens
    for iteration in (1, 2):
        folder = finished.folder / f"iter_{iteration:03d}"
        trees = Journal(folder / "trees.jsonl").read()
        pairs = lines_of(folder / "pairs.jsonl")
        laid_out = [pair for pair in pairs if MARK in pair["sample_id"]]
        assert bool(laid_out) == bool(finished.records[iteration]["negatives"])
        for pair in pairs:
            if pair in laid_out:  # without a search
                continue
            tree = trees[pair["sample_id"]]
            paths = {tree.prompt_ids + tree.path_ids(index) for index in range(len(tree.nodes))}
            prompt = tuple(pair["prompt_ids"])
            if pair["reason"] == "anchor":  # of words, the beginning
                turn = prompt + tuple(pair["chosen_ids"])
                is_cut = len(pair["chosen_ids"]) == num_prose_tokens and not tree.needs_call
                assert turn in paths or (is_cut and any(path[: len(turn)] == turn for path in paths))
            else:
                assert {prompt, prompt + tuple(pair["chosen_ids"]), prompt + tuple(pair["rejected_ids"])} <= paths


@pytest.mark.slow
def test_from_the_second_iteration_on_a_part_of_the_update_is_kept(finished: Run, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "whole")
    shutil.rmtree(tmp_path / "whole" / "iter_002")
    (tmp_path / "whole" / "recipe.yaml").write_text(small_recipe("stage.update_rate=1").to_yaml())
    whole = run_of(tmp_path / "whole", "stage.update_rate=1")
    folders = (finished.folder / "iter_001", finished.folder / "iter_002", whole.folder / "iter_002")
    began, half, ended = (load_file(folder / "checkpoint" / "adapter_model.safetensors") for folder in folders)
    assert any(not torch.equal(began[name], ended[name]) for name in began)
    for name, tensor in half.items():
        torch.testing.assert_close(tensor, (began[name] + ended[name]) / 2)


@pytest.mark.slow
def test_the_same_seed_ends_in_the_same_place_and_another_does_not(finished: Run, tmp_path: Path) -> None:
    torch.randn(5)  # what was drawn before must not matter
    again = run_of(tmp_path / "again")
    assert_same_outcome(finished.folder, again.folder, 2)
    other = run_of(tmp_path / "other", "seed=1", "iters=1")
    pairs = [folder / "iter_001" / "pairs.jsonl" for folder in (finished.folder, other.folder)]
    assert pairs[0].read_text() != pairs[1].read_text()


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_killed_at_every_write_ends_where_an_undisturbed_one_does(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Each file, and every second tree of a journal, is a place to die once, just before or just after it is there."""
    survived: set[str] = set()
    write_text, append = Store.write_text, Journal.append

    def dying(place: str, write: Any, *arguments: Any) -> None:
        fatal = place not in survived
        survived.add(place)
        if fatal and when == "before":
            raise KeyboardInterrupt
        write(*arguments)
        if fatal:
            raise KeyboardInterrupt

    def dying_write(self: Store, path: Path, text: str) -> None:
        if path.name == "seconds.json" and sys.exception():  # written on the way out of another death
            write_text(self, path, text)
        else:
            dying(str(path.relative_to(tmp_path)), write_text, self, path, text)

    def dying_append(self: Journal, tree: Tree) -> None:
        number = len(self.path.read_text().splitlines()) if self.path.exists() else 0
        if number % 2:
            append(self, tree)
        else:
            dying(f"{self.path.relative_to(tmp_path)} {number}", append, self, tree)

    monkeypatch.setattr(Store, "write_text", dying_write)
    monkeypatch.setattr(Journal, "append", dying_append)
    num_kills = 0
    while True:
        try:
            run = run_of(tmp_path / "killed")
            break
        except KeyboardInterrupt:
            num_kills += 1
    assert num_kills == len(survived) >= 1 + 2 + 2 * (5 + 2)
    assert_same_outcome(finished.folder, run.folder, 2)


@pytest.mark.parametrize("key", ["train", "held_out"])
def test_a_missing_file_or_a_folder_is_said_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    monkeypatch.setattr("iterft.build.base_and_template", None)
    for path, fault in ((tmp_path / "none.jsonl", "no such file"), (tmp_path, "is a folder")):
        run = tmp_path / fault
        assert main(["--recipe", "debug", "--run", str(run), "--set", f"data.{key}={path}"]) == 2
        assert not run.exists()
        assert capsys.readouterr().err.startswith(f"error: data.{key} {path}: {fault}; give 'builtin', a file")


@pytest.mark.slow
def test_seconds_before_an_interrupt_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Iterator, "search", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_of(tmp_path / "run", "iters=1")
    kept = json.loads((tmp_path / "run" / "iter_001" / "seconds.json").read_text())
    assert kept.keys() == {"deficiency"} and kept["deficiency"] > 0
    monkeypatch.setattr("iterft.deficiency.find_deficient", interrupted)  # it is not done again
    spent = run_of(tmp_path / "run", "iters=1").records[1]["seconds"]
    assert spent["deficiency"] >= round(kept["deficiency"], 1) and spent["search"] > 0
    assert not list((tmp_path / "run").rglob("seconds.json"))


@pytest.mark.slow
def test_a_warm_up_that_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("iterft.evals.held_out.evaluate_held_out", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_of(tmp_path / "run", "iters=0")
    monkeypatch.setattr("iterft.stages.sft.train_sft", interrupted)
    run = run_of(tmp_path / "run", "iters=0")
    assert run.checkpoint.path == tmp_path / "run" / "iter_000" / "checkpoint"
    assert run.records[0]["seconds"]["warm-up"] > 0


@pytest.mark.slow
def test_a_finished_run_can_be_prolonged_and_its_past_stays(finished: Run, tmp_path: Path) -> None:
    run_of(tmp_path / "run", "iters=1")
    before = (tmp_path / "run" / "iter_001" / "done.json").read_bytes()
    run = run_of(tmp_path / "run", "iters=2")
    assert (tmp_path / "run" / "iter_001" / "done.json").read_bytes() == before
    assert len(run.records) == 3
    assert_same_outcome(finished.folder, run.folder, 2)


@pytest.mark.slow
def test_a_finished_run_started_again_leads_to_a_new_folder(tmp_path: Path) -> None:
    recipe = replace(small_recipe(), iters=0)
    folders = [Iterator(recipe, root=tmp_path, quiet=True).run().folder.name for _ in range(2)]
    assert folders == ["debug-1", "debug-2"]


@pytest.mark.slow
def test_the_base_is_scored_before_the_warm_up_and_heads_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored = Iterator(small_recipe("iters=0", "eval.base=true"), tmp_path / "scored").run()
    said = capsys.readouterr().out
    assert 0 < said.index("base: held-out accuracy") < said.index("warm-up: held-out accuracy")
    untuned = run_of(tmp_path / "untuned", "iters=0", "warmup.epochs=0")
    (record,), (base,) = scored.records, untuned.records
    assert {key: base[key] for key in record["base"]} == record["base"]
    print_table(scored.records)
    lines = capsys.readouterr().out.splitlines()
    first, second = (next(at for at, line in enumerate(lines) if name in line) for name in ("base", "warm-up"))
    assert first < second
    print_table(untuned.records)
    assert "base" not in capsys.readouterr().out


@pytest.mark.slow
def test_what_the_base_scored_outlasts_an_interrupted_warm_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    overrides = ("iters=0", "eval.base=true")
    with monkeypatch.context() as patched:
        patched.setattr(Iterator, "tune", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_of(tmp_path / "run", *overrides)
    kept = json.loads((tmp_path / "run" / "iter_000" / "base.json").read_text())
    evaluate, named = Iterator.evaluate, []
    monkeypatch.setattr(Iterator, "evaluate", lambda self, at, name: named.append(name) or evaluate(self, at, name))
    assert run_of(tmp_path / "run", *overrides).records[0]["base"] == kept
    assert named == ["warm-up"]


@pytest.mark.slow
def test_a_run_without_warm_up_starts_from_the_base(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "warmup.epochs=0", "iters=1", "model.dialect=pythonic")
    assert run.records[0]["checkpoint"] is None
    assert run.checkpoint.path == tmp_path / "run" / "iter_001" / "checkpoint"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("", "is empty"), ('{"id": 1}\n', "cannot be read"), ("\x00\n", "cannot be read")],
)
def test_a_bad_data_file_is_one_line_and_exit_code_2_and_harms_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    run = tmp_path / "run"
    arguments = ["--recipe", "debug", "--run", str(run), "--set", f"data.train={path}"]
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: data.train") and message in shown.err and shown.err.count("\n") == 1
    assert not run.exists(), "a start that came to nothing leaves nothing"
    (run / "iter_000").mkdir(parents=True)
    (run / "recipe.yaml").write_text(Recipe.load("debug", [f"data.train={path}"]).to_yaml(), encoding="utf-8")
    assert main(arguments) == 2
    assert sorted(file.name for file in run.rglob("*")) == ["iter_000", "recipe.yaml"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.base=random:gpt", "model.base random:gpt"),
        ("model.base=./nowhere", "model.base ./nowhere: no such folder"),
        ("data.max_prompt_tokens=3", "max_prompt_tokens"),
        ("data.max_prompt_tokens=4090", "are together more than the 4096 tokens that model.base"),
    ],
)
def test_a_bad_model_or_bound_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, message: str
) -> None:
    assert main(["--recipe", "debug", "--run", str(tmp_path / "run"), "--set", override]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("package", "override", "message"),
    [
        ("vllm", "policy.kind=vllm", "policy.kind: vllm needs the package vllm; pip install"),
        ("bfcl_eval", "eval.bfcl=[multiple]", "eval.bfcl: bfcl-eval is not installed; run: pip"),
    ],
)
def test_a_missing_package_is_one_line_and_exit_code_2_before_anything_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    package: str,
    override: str,
    message: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # what Python takes for "there is no such package"
    rows = tmp_path / "rows.jsonl"
    rows.write_text("no JSON\n")  # which would be said if it was read
    overrides = ["--set", override, "--set", f"data.train={rows}"]
    assert main(["--recipe", "debug", "--run", str(tmp_path / "run"), *overrides]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}") and error.count("\n") == 1


def test_a_full_disk_in_the_middle_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: Iterator) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "iter_000/checkpoint")

    monkeypatch.setattr("iterft.loop.Iterator.prepare", full)
    assert main(["--recipe", "debug", "--run", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: iter_000/checkpoint: cannot be written (No space") and error.count("\n") == 1


@pytest.mark.slow
def test_what_a_scheduler_sends_is_an_interrupt(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "iterft.loop", "--recipe", "debug", "--run", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and "run folder" in process.stdout.readline()
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "\ninterrupted; the same command goes on from here\n")


def test_an_interrupt_is_exit_code_130_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(self: Iterator) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("iterft.loop.Iterator.prepare", interrupted)
    assert main(["--recipe", "debug", "--run", str(tmp_path / "run")]) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_memory_that_runs_out_is_one_line_that_says_what_to_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--recipe", "debug", "--run", str(tmp_path / "run")]
    cpu = RuntimeError(
        "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"
    )
    for error in (torch.OutOfMemoryError("CUDA out of memory. Tried 9 GiB.\nmore"), cpu):

        def full(*args: Any, error: RuntimeError = error, **more: Any) -> Any:
            raise error

        monkeypatch.setattr(build, "serve", full)
        assert main(arguments) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: memory ran out (") and "lower policy.max_rows" in said and said.count("\n") == 1

    def broken(*args: Any, **more: Any) -> Any:
        raise RuntimeError("something else")

    monkeypatch.setattr(build, "serve", broken)
    with pytest.raises(RuntimeError, match="something else"):
        main(arguments)


def test_one_of_several_processes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["--recipe", "debug", "--run", str(tmp_path / "run")]) == 2
    assert "WORLD_SIZE: a run is one process on one accelerator" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_base_that_is_not_there_is_no_fault_of_the_data(tmp_path: Path) -> None:
    iterator = Iterator(small_recipe("model.base=/no/such/folder"), tmp_path / "run", quiet=True)
    with pytest.raises(ValueError, match=r"^model\.base /no/such/folder: no such folder"):
        iterator.prepare()


def test_iterations_choose_from_all_samples_where_nothing_is_warmed_up(tmp_path: Path) -> None:
    for overrides, left in (((), 22), (("warmup.epochs=0",), 30)):
        iterator = Iterator(small_recipe(*overrides), tmp_path / str(left), quiet=True)
        iterator.prepare()
        assert (len(iterator.train), len(iterator.samples)) == (30, left)


@pytest.mark.slow
def test_a_run_that_finds_nothing_to_learn_from_goes_on_with_more_candidates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*args: Any, **more: Any) -> Check:
        return Check((), (), {}, ())

    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr("iterft.deficiency.find_deficient", nothing)
        with pytest.raises(ValueError, match=r"no sample is deficient.*num_candidates set higher goes on"):
            run_of(run, "iters=1")
    with monkeypatch.context() as patched:
        patched.setattr("iterft.pairs.mine_pairs", lambda *args: Mined((), {}))
        with pytest.raises(ValueError, match=r"pairs: none was found.*min_margin"):
            run_of(run, "iters=1", "deficiency.num_candidates=7")
    assert len(run_of(run, "iters=1", "deficiency.num_candidates=8", "search.num_simulations=5").records) == 2


@pytest.mark.slow
def test_without_pairs_no_update_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_reached(*arguments: Any, **more: Any) -> Any:
        raise AssertionError("an update began")

    monkeypatch.setattr("iterft.pairs.mine_pairs", lambda *args: Mined((), {}))
    monkeypatch.setattr(Iterator, "update", not_reached)
    with pytest.raises(ValueError, match="pairs: none was found"):
        run_of(tmp_path / "run", "iters=1", "stages=[grpo,dpo]", "grpo.num_prompts=2")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stages", "stop"), [("[dpo]", "pairs: none was found"), ("[grpo,dpo]", "no sample is deficient")]
)
def test_in_batch_negatives_that_fail_are_enough_to_look_for_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: str, stop: str
) -> None:
    from iterft.deficiency import find_deficient

    def only_negatives(*arguments: Any, **more: Any) -> Check:
        check = find_deficient(*arguments, **more)
        failed = tuple(replace(item, pass_rate=0.0) for item in check.negatives)
        assert failed
        return Check((), (), check.history, failed)

    monkeypatch.setattr("iterft.deficiency.find_deficient", only_negatives)
    iterator = Iterator(
        small_recipe("iters=1", f"stages={stages}", "deficiency.negative_share=1.0"), tmp_path, quiet=True
    )
    iterator.prepare()
    with pytest.raises(ValueError, match=stop):  # this policy writes nothing that a pair could reject
        iterator.explore(1, Checkpoint(None))


def test_downloads_from_the_hub_keep_their_bars_and_loading_has_none() -> None:
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled
    from transformers.utils.logging import is_progress_bar_enabled

    quieten_libraries()
    assert not are_progress_bars_disabled() and not is_progress_bar_enabled()


def test_an_engine_that_died_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def serve(*args: Any, **more: Any) -> Any:
        raise PolicyFailure("the vLLM engine has died")

    monkeypatch.setattr(build, "serve", serve)
    assert main(["--recipe", "debug", "--run", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err == "error: the vLLM engine has died\n"


@pytest.mark.slow
def test_weights_that_were_trained_are_gone_when_the_next_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained() -> set[int]:
        found = (one for one in gc.get_objects() if isinstance(one, PeftModel))
        return {id(one) for one in found if any(parameter.requires_grad for parameter in one.parameters())}

    left = []
    load = build.sampled_model

    def counting(*args: Any) -> Any:
        left.append(len(trained() - before))
        return load(*args)

    monkeypatch.setattr(build, "sampled_model", counting)
    gc.collect()
    before = trained()  # other tests may have kept theirs
    gc.disable()
    try:
        run_of(tmp_path / "run", "iters=1")
    finally:
        gc.enable()
    assert len(left) >= 3 and not any(left), "after the warm-up, and after the update"
