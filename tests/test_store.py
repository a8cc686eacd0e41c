"""The run folder survives kills, refuses what is not its own, and gives back what it was given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from iterft import Recipe
from iterft.journal import digest_of
from iterft.negatives import negative
from iterft.store import MAY_CHANGE, Journal, Store, finished_checkpoint
from iterft.types import (
    Check,
    Checked,
    Completion,
    Node,
    PreferencePair,
    Prompt,
    Sample,
    Standing,
    Step,
    ToolCall,
    Tree,
)

RECIPE = "name: toy\niters: 2\nseed: 0\n"


def sample_of(name: str) -> Sample:
    return Sample(name, Prompt(({"role": "user", "content": name},), ()), (ToolCall("f", {"a": [1]}),))


def tree_of(name: str) -> Tree:
    root = Node(parent=-1, step=Step("root", (), ()), prior=1.0, visits=2, value_sum=1.0, children=[1])
    leaf = Node(
        parent=0, step=Step("turn", (5, 6), (-0.1, -0.30000000000000004)), prior=0.8, reward=0.0, objection="no_call"
    )
    return Tree(name, (1, 2, 3), [root, leaf], simulations=2, sampled_tokens=9)


def open_store(root: Path, recipe: str = RECIPE, run: Path | None = None) -> Store:
    return Store.open(root, "toy", recipe, run)


def finish(store: Store, *iterations: int) -> None:
    for iteration in iterations:
        store.commit(iteration, {"checkpoint": None})


def test_two_processes_do_not_work_in_one_folder(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with store.locked():
        assert open_store(tmp_path).run == store.run, "the same command finds the unfinished run"
        with pytest.raises(ValueError, match=r"^--run .*toy-1: another process is working in it; wait"), store.locked():
            pass
    with store.locked():
        pass


def test_a_text_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    path = store.run / "scores.json"
    store.write_text(path, "before")
    with pytest.raises(UnicodeEncodeError):
        store.write_text(path, "x" * 100_000 + "\ud800")
    assert path.read_text() == "before"
    store.write_text(path, "after")
    assert path.read_text() == "after"
    assert [file.name for file in store.run.iterdir() if file.suffix == ".tmp"] == []


def test_a_value_that_is_no_json_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.write_json(store.run / "scores.json", {"a": 1})
    with pytest.raises(TypeError):
        store.write_json(store.run / "scores.json", {"a": {1, 2}})
    assert (store.run / "scores.json").read_text() == '{\n "a": 1\n}\n'


def test_a_journal_gives_its_trees_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "trees.jsonl")
    assert journal.read() == {}
    journal.append(tree_of("a"))
    journal.append(tree_of("b"))
    assert journal.read() == {"a": tree_of("a"), "b": tree_of("b")}


@pytest.mark.parametrize("kept", [1, 40, -2])
def test_a_torn_last_line_of_a_journal_is_dropped_and_written_anew(tmp_path: Path, kept: int) -> None:
    journal = Journal(tmp_path / "trees.jsonl")
    journal.append(tree_of("a"))
    whole = journal.path.read_bytes()
    journal.append(tree_of("bé"))
    torn = journal.path.read_bytes()[len(whole) :][:kept]
    journal.path.write_bytes(whole + torn)
    assert journal.read() == {"a": tree_of("a")}
    journal.append(tree_of("c"))
    assert journal.read() == {"a": tree_of("a"), "c": tree_of("c")}


def test_deficient_samples_and_history_come_back_as_they_were(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    samples = [sample_of("a"), sample_of("b"), sample_of("c")]
    turn, unfinished = Completion((1, 2), (-0.1, -1 / 3), "stop"), Completion((7,), (-2.0,), "length")
    check = Check(
        weak=(
            Checked(samples[1], 3.25, 0.5, {"no_call": 1}, (turn, unfinished), ()),
            Checked(samples[0], 1.5, 0.0, {}, (unfinished,), (Completion((5,), (-1.5,), "stop"),)),
        ),
        mastered=(Checked(samples[2], 1.25, 1.0, {}, (turn,), (turn,)),),
        history={"a": Standing(2, 1, 0.0), "b": Standing(1, 0, 0.5), "c": Standing(1, 0, 1.0)},
        negatives=(
            Checked(negative(samples[0], samples[2]), 2.0, 1.0, {}, (turn,), (turn,)),
            Checked(negative(samples[1], samples[2]), 2.5, 0.0, {"unneeded_call": 1}, (unfinished,), (turn,)),
        ),
    )
    assert store.read_check(1, samples) is None
    assert store.read_history(1) == {}
    store.write_check(1, check)
    assert store.read_check(1, samples) == check
    assert store.read_history(1) == check.history


def test_pairs_come_back_as_they_were(tmp_path: Path) -> None:
    pairs = (
        PreferencePair((1, 2), (3, 4), (5,), 0.5, "wrong_value", "a", -1 / 3, -2.0, True, 0.25),
        PreferencePair((1,), (3,), (), 1.0, "anchor", "b", -0.5, 0.0),
    )
    store = open_store(tmp_path)
    store.write_pairs(1, pairs)
    assert store.read_pairs(1) == pairs


def test_a_check_counts_only_once_its_samples_are_written(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.write_check(1, Check((), (), {"a": Standing(1)}))
    (store.folder(1) / "samples.jsonl").unlink()
    assert store.read_check(1, []) is None


def test_an_unfinished_run_is_found_again(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    finish(store, 0, 1)
    assert open_store(tmp_path).run == store.run == tmp_path / "toy-1"


def test_a_finished_run_leads_to_a_new_folder(tmp_path: Path) -> None:
    finish(open_store(tmp_path), 0, 1, 2)
    second = open_store(tmp_path)
    assert second.run == tmp_path / "toy-2"
    finish(second, 0, 1, 2)
    assert open_store(tmp_path).run == tmp_path / "toy-3"


def test_the_newest_run_of_the_recipe_decides_and_ten_is_newer_than_nine(tmp_path: Path) -> None:
    for number in (9, 10):
        finish(open_store(tmp_path, run=tmp_path / f"toy-{number}"), 0)
    assert open_store(tmp_path).run == tmp_path / "toy-10"


def test_another_recipe_is_not_gone_on_with(tmp_path: Path) -> None:
    open_store(tmp_path)
    assert open_store(tmp_path, RECIPE.replace("seed: 0", "seed: 1")).run == tmp_path / "toy-2"
    assert open_store(tmp_path).run == tmp_path / "toy-1"


def test_what_a_run_may_go_on_with_changed_leads_to_it_without_being_told_its_folder(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    rows, found = "policy:\n  max_rows: 3\n", "deficiency:\n  num_candidates: 99\n"
    assert open_store(tmp_path, RECIPE + rows).run == store.run
    assert open_store(tmp_path, RECIPE + found).run == tmp_path / "toy-2"
    store.forget(1)
    assert open_store(tmp_path, RECIPE + rows + found.replace("99", "98")).run == store.run
    assert open_store(tmp_path, RECIPE.replace("iters: 2", "iters: 3")).run == tmp_path / "toy-3"
    for spoilt in ("a: [1", "[a]", "a: ${", "word"):
        (tmp_path / "toy-3" / "recipe.yaml").write_text(spoilt)
        assert open_store(tmp_path, RECIPE + rows).run == store.run


def test_a_run_whose_name_another_begins_with_is_not_mistaken_for_it(tmp_path: Path) -> None:
    Store.open(tmp_path, "toy-big", RECIPE.replace("toy", "toy-big"), None)
    assert open_store(tmp_path).run == tmp_path / "toy-1"


def test_a_given_run_with_another_recipe_is_refused_naming_the_difference(tmp_path: Path) -> None:
    run = open_store(tmp_path).run
    with pytest.raises(ValueError, match=r"--run .*toy-1.*\(seed: 0 there, 1 now\)"):
        open_store(tmp_path, RECIPE.replace("seed: 0", "seed: 1"), run)
    with pytest.raises(ValueError, match=r"\(more: None there, 1 now\)"):
        open_store(tmp_path, RECIPE + "more: 1\n", run)
    assert (run / "recipe.yaml").read_text() == RECIPE


def test_a_folder_that_is_no_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    with pytest.raises(ValueError, match="not a run folder"):
        open_store(tmp_path, run=tmp_path / "letters")
    assert [file.name for file in (tmp_path / "letters").iterdir()] == ["a.txt"]


def test_a_file_in_the_place_of_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"--run .*not a run folder"):
        open_store(tmp_path, run=tmp_path / "file")
    with pytest.raises(ValueError, match="--run"):
        open_store(tmp_path, run=tmp_path / "file" / "below")


def test_an_empty_folder_may_become_a_run(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert open_store(tmp_path, run=tmp_path / "empty").run == tmp_path / "empty"


def test_a_first_start_that_came_to_nothing_binds_no_folder_to_its_recipe(tmp_path: Path) -> None:
    (tmp_path / "mounted").mkdir()
    for folder, is_left in ((tmp_path / "mounted", True), (tmp_path / "made", False)):
        store = open_store(tmp_path, run=folder)
        store.discard_unused()
        assert folder.exists() == is_left and not (folder / "recipe.yaml").exists()
    (tmp_path / "mounted" / "vllm.log").write_text("why the engine did not start")
    other = open_store(tmp_path, RECIPE.replace("seed: 0", "seed: 1"), tmp_path / "mounted")
    other.discard_unused()
    assert [path.name for path in other.run.iterdir()] == ["vllm.log"], "what the error points to"


def test_starts_at_once_get_folders_of_their_own(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from iterft.store import Store; sys.stdin.readline();"
        "print(Store.open(Path(sys.argv[1]), 'toy', 'name: toy\\niters: 2\\nseed: ' + sys.argv[2], None).run.name)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    starts = [
        subprocess.Popen([*command, str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for seed in range(4)
    ]
    for start in starts:
        assert start.stdin
        start.stdin.write("\n")
        start.stdin.flush()
    assert sorted(start.communicate(timeout=60)[0].strip() for start in starts) == [f"toy-{n}" for n in range(1, 5)]


def test_a_name_that_looks_like_a_pattern_is_found_again(tmp_path: Path) -> None:
    run = Store.open(tmp_path, "exp[1]", RECIPE, None).run
    assert (run.name, Store.open(tmp_path, "exp[1]", RECIPE, None).run) == ("exp[1]-1", run)
    finish(Store(run), 0, 1, 2)
    assert Store.open(tmp_path, "exp[1]", RECIPE, None).run.name == "exp[1]-2"


def test_what_an_iteration_has_found_can_be_looked_for_anew(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    check = Check((), (), {"a": Standing(1, 0, 1.0)}, ())
    store.write_check(1, check)
    store.journal(1).append(tree_of("a"))
    store.forget(1)
    assert store.read_check(1, []) is None and store.journal(1).read() == {} and store.read_history(1) == {}


def test_a_finished_run_can_be_prolonged(tmp_path: Path) -> None:
    run = open_store(tmp_path).run
    finish(Store(run), 0, 1, 2)
    longer = RECIPE.replace("iters: 2", "iters: 4")
    store = open_store(tmp_path, longer, run)
    assert store.is_done(2)
    assert not store.is_done(3)
    assert (run / "recipe.yaml").read_text() == RECIPE, "another process may be at work"
    store.start(longer)
    assert (run / "recipe.yaml").read_text() == longer
    assert open_store(tmp_path, longer).run == run


def test_what_is_finished_beyond_the_recipe_is_found(tmp_path: Path) -> None:
    run = Store.open(tmp_path, "toy", Recipe.load("debug", ["iters=1"]).to_yaml(), None).run
    for iteration in range(4):
        Store(run).commit(iteration, {"checkpoint": f"iter_{iteration:03d}/checkpoint"})
    assert finished_checkpoint(run)[1] == 3
    assert finished_checkpoint(run, 2)[2].path == run / "iter_002" / "checkpoint"
    with pytest.raises(ValueError, match="--iteration 4: not finished; finished are 0, 1, 2, 3"):
        finished_checkpoint(run, 4)


def test_a_run_goes_on_with_the_data_that_it_was_started_with_only(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    digests = [digest_of([[sample_of(name)], [sample_of("held out")]]) for name in ("a", "b", "a")]
    store.hold_data(digests[0])
    store.hold_data(digests[2])
    with pytest.raises(ValueError, match=r"^--run .*toy-1: its data are not those that it was started with"):
        store.hold_data(digests[1])
    assert digest_of([[sample_of("a")], []]) != digest_of([[], [sample_of("a")]])


def test_a_checkpoint_is_found_wherever_the_run_is_moved(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.commit(0, {"checkpoint": None})
    store.commit(1, {"checkpoint": "iter_001/checkpoint"})
    store.run.rename(tmp_path / "moved")
    moved = Store(tmp_path / "moved")
    assert moved.checkpoint(0).path is None
    assert moved.checkpoint(1).path == tmp_path / "moved" / "iter_001" / "checkpoint"


def test_what_finds_more_may_change_only_where_nothing_was_found(tmp_path: Path) -> None:
    store = open_store(tmp_path, Recipe.load("debug").to_yaml())
    more = Recipe.load("debug", ["search.num_simulations=9"]).to_yaml()
    store.commit(0, {"checkpoint": None})
    with pytest.raises(ValueError, match=r"another recipe \(search.num_simulations: 4 there, 9 now\)"):
        open_store(tmp_path, more, store.run)
    store.forget(1)
    assert open_store(tmp_path, more, store.run).run == store.run
    store.commit(1, {"checkpoint": None})
    with pytest.raises(ValueError, match="another recipe"):
        open_store(tmp_path, more, store.run)


def test_what_the_machine_can_take_and_when_a_guard_stops_may_change_within_a_run(tmp_path: Path) -> None:
    recipe = Recipe.load("debug")
    store = open_store(tmp_path, recipe.to_yaml())
    changed = ["policy.max_rows=3", "policy.kv_cache_gib=0.5", "model.max_activation_tokens=99", "grpo.min_entropy=0"]
    assert {change.partition("=")[0] for change in changed} < MAY_CHANGE
    assert open_store(tmp_path, Recipe.load("debug", changed).to_yaml(), store.run).run == store.run
    with pytest.raises(ValueError, match=r"another recipe \(stage.lr: .* there, 0.5 now\); give the same settings"):
        open_store(tmp_path, Recipe.load("debug", ["stage.lr=0.5"]).to_yaml(), store.run)


def test_a_setting_that_came_later_was_at_its_default(tmp_path: Path) -> None:
    now = Recipe.load("debug").to_yaml()
    before = "".join(line for line in now.splitlines(keepends=True) if "typo_share" not in line)
    assert before != now
    run = open_store(tmp_path, before).run
    assert open_store(tmp_path, now, run).run == run
    with pytest.raises(ValueError, match=r"data.typo_share: 0.0 there, 0.1 now"):
        open_store(tmp_path, Recipe.load("debug", ["data.typo_share=0.1"]).to_yaml(), run)
