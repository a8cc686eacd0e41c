"""Self-guided complexity: what is measured, which range it leads to, how levers are learnt, and what rounds do."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sample_tools import TEXT
from toys import NONE, ONE, PARIS, ROME, TWO, policy_of, world_of
from toys import sample_of as toy_of

from iterft import Recipe
from iterft.dialects.hermes import HERMES
from iterft.learner import learner_of as learner_for
from iterft.log import Log
from iterft.policies.scripted import ScriptedPolicy
from iterft.store import Store
from iterft.synth.complexity import Learner, Range, complexities, falling, find_range, range_of
from iterft.synth.levers import LEVERS, fit
from iterft.synth.near import NearDuplicates
from iterft.synth.overview import complexity_overview
from iterft.synth.pipeline import Order, nothing_yet, synthesize
from iterft.synth.redraw import redrawing
from iterft.synth.rounds import Remake, Rounds, guide
from iterft.synth.rows import line_of, row_of, sample_of
from iterft.synth.stock import Stock, spoken_of, stock_of
from iterft.toolsets.forms import load_toolset
from iterft.types import Checkpoint, Sample

QUIET = Log(quiet=True)
RIGHT, WRONG = HERMES.render([PARIS]), HERMES.render([ROME])


# --- what is measured, and the range


def test_complexity_is_the_mean_negative_log_likelihood_per_token_of_the_reference() -> None:
    policy = policy_of(turns={"one": {RIGHT: 1, WRONG: 3}, "none": {"I cannot do that.": 1}})
    one, none = complexities(policy, world_of(), [ONE, NONE])
    assert one == pytest.approx(math.log(4) / (len(RIGHT) + 1))
    assert 0 < none < 1e-5, "never 0: logarithms are taken of it"


def test_what_is_outside_is_too_easy_or_too_hard_by_the_logarithm_of_a_ratio() -> None:
    bounds = Range(0.1, 0.4)
    assert [bounds.excess(loss) for loss in (0.11, 0.39)] == [0, 0]
    assert bounds.excess(0.8) == pytest.approx(math.log(2))
    assert bounds.excess(0.05) == pytest.approx(-math.log(2))
    assert bounds.excess(0.1) < 0 < bounds.excess(0.4), "the bounds themselves are outside"
    assert Range(0.0, math.inf).excess(7.0) == 0


def test_the_share_that_is_solved_is_fitted_to_fall() -> None:
    shares = dict(falling([0.4, 0.1, 0.2, 0.3], [False, True, False, True]))
    assert shares == {0.1: 1.0, 0.2: 0.5, 0.3: 0.5, 0.4: 0.0}


def test_the_range_lies_between_what_is_mastered_and_what_stays_lost() -> None:
    losses = [number / 100 for number in range(1, 101)]
    before = [loss <= 0.3 for loss in losses]
    after = [loss <= 0.6 for loss in losses]
    assert range_of(losses, before, after) == Range(0.30, 0.61)
    never, always = [False] * 100, [True] * 100
    assert range_of(losses, never, never) == Range(0.0, 0.26), "the easiest quarter is where a policy begins"
    assert range_of(losses, always, always) == Range(0.75, math.inf), "the hardest quarter is what is left"


def test_the_lower_bound_is_never_above_the_upper_one() -> None:
    random = Random(0)
    for _ in range(300):
        losses = [random.random() for _ in range(random.randint(1, 40))]
        before, after = ([random.random() < 0.5 for _ in losses] for _ in range(2))
        bounds = range_of(losses, before, after)
        assert bounds.lower <= bounds.upper


def learner_of(policies: dict[str, ScriptedPolicy], tuned: list[Sequence[Sample]]) -> Learner:
    """A learner whose policy before tuning is "before", after it "after"."""

    @contextmanager
    def serve(checkpoint: Checkpoint) -> Iterator[ScriptedPolicy]:
        yield policies["after" if checkpoint.path else "before"]

    def tune(samples: Sequence[Sample], out: Path) -> Checkpoint:
        tuned.append(samples)
        out.mkdir()
        return Checkpoint(out)

    return Learner("toy", Checkpoint(None), serve, world_of(), tune, 10_000)


def test_the_range_is_found_by_what_is_solved_before_and_after_one_short_tuning(tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(8)]
    samples = [*(toy_of(name, PARIS) for name in names), NONE]
    scripts = {
        when: {name: {RIGHT if int(name[1]) < num else WRONG: 1} for name in names} | {"none": {"No.": 1}}
        for when, num in (("before", 3), ("after", 5))
    }
    tuned: list[Sequence[Sample]] = []
    learner = learner_of({when: policy_of(turns=script) for when, script in scripts.items()}, tuned)
    losses = [0.1 * (number + 1) for number in range(8)] + [9.0]
    probe = find_range(learner, samples, losses, tmp_path / "tuned", QUIET)
    assert (probe.num_samples, probe.num_before, probe.num_after) == (8, 3, 5)
    assert (probe.bounds.lower, probe.bounds.upper) == pytest.approx((0.3, 0.6))
    assert tuned == [samples]
    assert find_range(learner, samples, losses, tmp_path / "tuned", QUIET) == probe
    assert len(tuned) == 1, "a checkpoint that is there is not made again"


@pytest.mark.parametrize("none", ["epochs", "num_samples"])
def test_a_recipe_that_does_not_warm_up_tells_no_range(tmp_path: Path, none: str) -> None:
    (tmp_path / "mine.yaml").write_text(f"name: mine\nwarmup: {{{none}: 0}}\n")
    with pytest.raises(ValueError, match=rf"the base of .*mine.yaml: its recipe does not warm up .*warmup.{none}"):
        learner_for(str(tmp_path / "mine.yaml"), QUIET)


def test_a_probe_without_calls_is_refused(tmp_path: Path) -> None:
    learner = learner_of({"before": policy_of()}, [])
    with pytest.raises(ValueError, match="none of the 1 samples of the probe has a call"):
        find_range(learner, [NONE], [1.0], tmp_path / "tuned", QUIET)


# --- levers


def row(num_tools: int = 2, text: str = "weather in Paris", answer: Any = None) -> dict[str, Any]:
    properties = {"city": {"type": "string"}, "days": {"type": "integer"}, "stops": {"type": "array"}}
    names = ["get_weather", "get_tides", "book_room", "send_mail", "find_weather"][:num_tools]
    tools = [{"name": name, "parameters": {"properties": properties, "required": ["city"]}} for name in names]
    calls = answer or [{"name": "get_weather", "arguments": {"city": "Paris"}}]
    return {"kind": "single", "messages": [{"role": "user", "content": text}], "tools": tools, "answer": calls}


def test_each_lever_is_read_off_the_row() -> None:
    def read(of: dict[str, Any]) -> list[float]:
        return [round(lever(of), 3) for lever in LEVERS.values()]

    assert list(LEVERS) == [
        "calls",
        "tools shown (doublings)",
        "near tools shown",
        "distance of the wording",
        "optional arguments",
        "lists and objects",
    ]
    assert read(row(2)) == [1, 1, 1, 0.667, 0, 0], "get_tides shares a word; of get, weather, city one was said"
    assert read(row(4, "Get weather, city: Paris")) == [1, 2, 1, 0, 0, 0]
    two = [{"name": "get_weather", "arguments": {"city": "A", "days": 2, "stops": ["B"]}}] * 2
    assert read(row(4, "get weather city days stops", two)) == [2, 2, 1, 0, 4, 2]


def test_before_anything_is_known_every_lever_makes_harder() -> None:
    forecast = fit([(row(2), 0.3), (row(2), 0.6)])
    assert list(forecast.slopes.values()) == pytest.approx([0.1 * math.log(2)] * len(LEVERS))
    assert forecast(row(5)) > forecast(row(2))


def test_the_forecast_learns_what_a_lever_and_a_tool_do_to_this_policy() -> None:
    other = [{"name": "get_tides", "arguments": {"city": "Paris"}}]
    measured = [
        (row(num_tools, answer=answer), 0.4 / num_tools * (3 if answer else 1))
        for num_tools in (2, 3, 4, 5)
        for answer in (None, other)
        for _ in range(20)
    ]
    forecast = fit(measured)
    assert forecast.slopes["tools shown (doublings)"] < 0, "more tools make it easier for this one"
    assert forecast(row(3, answer=other)) - forecast(row(3)) == pytest.approx(math.log(3), abs=0.1)
    errors = [abs(forecast(each) - math.log(loss)) for each, loss in measured]
    assert max(errors) < 0.25


# --- rounds


class CountingPolicy(ScriptedPolicy):
    """Each token of its reference turns costs 0.05 nats per tool shown and 0.1 more per call."""

    def __init__(self) -> None:
        super().__init__(lambda prompt: {})

    def logprob(self, prefixes: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> list[list[float]]:
        return [[-self.cost(prefix, turn)] * len(turn) for prefix, turn in zip(prefixes, continuations, strict=True)]

    def cost(self, prefix: Sequence[int], turn: Sequence[int]) -> float:
        _, tools = json.loads("".join(map(chr, prefix[:-1])))
        return 0.05 * len(tools) + 0.1 * "".join(map(chr, turn)).count('"name"')


@contextmanager
def serve_counting(checkpoint: Checkpoint) -> Iterator[ScriptedPolicy]:
    yield CountingPolicy()


COUNTING = Learner("toy", Checkpoint(None), serve_counting, world_of(), lambda samples, out: Checkpoint(out), 30_000)
ORDER = Order(150, 0, "made", False, frozenset(), lambda sample: [])
PROBE = {"bounds": {"lower": 0.31, "upper": 0.44}, "num_samples": 9, "num_before": 3, "num_after": 6}
GIVEN = {"round": 1, "probe": PROBE}


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    file = tmp_path_factory.mktemp("tools") / "my_tools.py"
    file.write_text(TEXT)
    return stock_of([spoken_of(definition) for definition in load_toolset(file).definitions])


def begun(stock: Stock) -> Rounds:
    progress = nothing_yet(stock)
    return Rounds([entry for entry in synthesize(stock, ORDER, progress) if entry["rows"]], progress.texts)


def run(rounds: Rounds, stock: Stock, tmp_path: Path, num_rounds: int = 3) -> list[dict[str, Any]]:
    remake = redrawing(stock, ORDER, rounds.texts, num_draws=8)
    return list(guide(rounds, COUNTING, remake, num_rounds, 50, tmp_path / "tuned", QUIET))


@pytest.fixture(scope="module")
def finished(stock: Stock, tmp_path_factory: pytest.TempPathFactory) -> tuple[Rounds, list[dict[str, Any]]]:
    """Rounds that have ended, and all the items that led there."""
    rounds = begun(stock)
    rounds.add(GIVEN)
    items = run(rounds, stock, tmp_path_factory.mktemp("rounds"))
    return rounds, [GIVEN, *items]


def test_the_share_inside_the_range_rises_from_the_first_round_to_the_last(finished: Any) -> None:
    rounds, _ = finished
    first, second, last = (standing.inside / standing.total for standing in rounds.standings)
    assert first < 0.5 and second > first + 0.2 and last >= second
    landed = rounds.standings[1].landed / rounds.standings[1].measured
    assert landed > 1.5 * first, "what is remade is aimed"
    assert 0 < rounds.standings[0].too_easy < rounds.standings[0].total
    assert rounds.standings[0].too_hard > 0


def test_guided_ones_land_inside_twice_as_often_as_mere_redraws(finished: Any, stock: Stock, tmp_path: Path) -> None:
    rounds = begun(stock)
    rounds.add(GIVEN)
    redraw = redrawing(stock, ORDER, rounds.texts, levels=[0])

    def plain(entry: Any, number: int, attempt: int, *, harder: bool) -> Sequence[dict[str, Any]]:
        return redraw(entry, number, attempt, harder=harder)[:1]

    list(guide(rounds, COUNTING, plain, 2, 50, tmp_path / "tuned", QUIET))
    guided, redrawn = (each.standings[1].landed / each.standings[1].measured for each in (finished[0], rounds))
    assert redrawn > 0 and guided > 2 * redrawn


def test_what_is_remade_keeps_its_id_its_kind_and_its_tool(finished: Any, stock: Stock) -> None:
    rounds, _ = finished
    before = {row["id"]: row for entry in begun(stock).dialogues for row in entry["rows"]}
    rows = rounds.rows()
    assert [row["id"] for row in rows] == list(before)
    remade = [row for row in rows if row["provenance"]["round"] > 1]
    assert remade and len(remade) < len(rows)
    for each in rows:
        old = before[each["id"]]
        assert each["kind"] == old["kind"]
        assert (each["messages"] != old["messages"] or each["tools"] != old["tools"]) == (each in remade)
        assert old["provenance"]["tools"][:1] == each["provenance"]["tools"][:1] or each["kind"] in (
            "dependent",
            "summary",
        )


def test_the_complexity_that_is_written_down_is_that_of_the_sample(finished: Any) -> None:
    rounds, _ = finished
    rows = rounds.rows()
    found = complexities(CountingPolicy(), world_of(), [sample_of(row) for row in rows])
    assert [row["provenance"]["complexity"] for row in rows] == [float(f"{loss:.4g}") for loss in found]
    sure = replace(rounds, complexities=[[4e-6 for _ in losses] for losses in rounds.complexities])
    assert {row["provenance"]["complexity"] for row in sure.rows()} == {4e-6}
    assert "samples with calls by complexity" in complexity_overview(sure.rows(), rounds, "a policy that is sure")


def test_no_two_users_say_nearly_the_same_after_all_rounds(finished: Any) -> None:
    texts = NearDuplicates()
    for entry in finished[0].dialogues:
        assert texts.similarity(entry["asked"]) == 0
        texts.add(entry["asked"])


@pytest.mark.slow
def test_rounds_that_were_killed_after_any_item_end_where_undisturbed_ones_do(
    finished: Any, stock: Stock, tmp_path: Path
) -> None:
    rounds, items = finished
    assert {item["round"] for item in items} == {1, 2, 3} and len(items) > 4
    for num_kept in range(1, len(items) + 1):
        again = begun(stock)
        for item in items[:num_kept]:
            again.add(json.loads(line_of(item)))
        run(again, stock, tmp_path)
        assert again.rows() == rounds.rows()
        assert again.standings == rounds.standings


def test_samples_without_calls_are_measured_and_left_as_they_are(finished: Any) -> None:
    rows = [row for row in finished[0].rows() if row["provenance"]["dialogue"] in ("no_tool", "summary")]
    assert rows and all(row["provenance"]["round"] == 1 and row["provenance"]["complexity"] > 0 for row in rows)


def test_what_does_not_fit_the_prompt_is_not_taken(stock: Stock, tmp_path: Path) -> None:
    rounds = begun(stock)
    longest = max(
        len(CountingPolicy().render(sample_of(row).prompt)) for entry in rounds.dialogues for row in entry["rows"]
    )
    rounds.add({"round": 1, "probe": PROBE | {"bounds": {"lower": 3.0, "upper": 4.0}}})  # all are far too easy
    remake = redrawing(stock, ORDER, rounds.texts, num_draws=8)
    learner = replace(COUNTING, max_prompt_tokens=longest // 2)
    list(guide(rounds, learner, remake, 2, 50, tmp_path / "tuned", QUIET))
    remade = [row for row in rounds.rows() if row["provenance"]["round"] == 2]
    assert remade
    assert max(len(CountingPolicy().render(sample_of(row).prompt)) for row in remade) <= longest // 2


def test_a_backend_that_offers_nothing_leaves_the_dialogues_as_they_are(stock: Stock, tmp_path: Path) -> None:
    def nothing(entry: Any, number: int, attempt: int, *, harder: bool) -> Sequence[dict[str, Any]]:
        return []

    remake: Remake = nothing
    rounds = begun(stock)
    rounds.add(GIVEN)
    list(guide(rounds, COUNTING, remake, 3, 50, tmp_path / "tuned", QUIET))
    assert [entry["asked"] for entry in rounds.dialogues] == [entry["asked"] for entry in begun(stock).dialogues]
    assert len({standing.inside for standing in rounds.standings}) == 1


def test_harder_ones_show_more_and_nearer_tools_simpler_ones_fewer(stock: Stock) -> None:
    texts = NearDuplicates()
    remake = redrawing(stock, ORDER, texts, num_draws=40, levels=[2])
    entry = next(entry for entry in begun(stock).dialogues if entry["kind"] == "single")
    lead = entry["rows"][0]["provenance"]["tools"]
    means = {}
    for harder in (True, False):
        offers = remake(entry, 7, 2, harder=harder)
        assert len(offers) > 20
        assert all(offer["rows"][0]["provenance"]["tools"] == lead for offer in offers)
        sizes = [len(offer["rows"][0]["tools"]) for offer in offers]
        means[harder] = sum(sizes) / len(sizes)
    assert means[True] > 1.5 * means[False]
    both = [len(offer["rows"][0]["tools"]) for offer in redrawing(stock, ORDER, texts)(entry, 7, 2, harder=True)]
    assert min(both) < means[False] < means[True] < max(both), "some go the other way"
    assert remake(entry, 7, 2, harder=True) == remake(entry, 7, 2, harder=True)
    assert remake(entry, 7, 3, harder=True) != remake(entry, 7, 2, harder=True)


# --- the command


def command(folder: Path, *arguments: object) -> list[str]:
    """Makes samples for the tiny random model."""
    (folder / "my_tools.py").write_text(TEXT)
    script = Path(__file__).parent.parent / "scripts" / "synthesize.py"
    given = ("--tools", folder / "my_tools.py", "--out", folder / "data.jsonl", "-n", 90, "--complexity", "debug")
    return [sys.executable, str(script), *map(str, (*given, "--probe", 24, *arguments))]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what an undisturbed run has made."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = subprocess.run(command(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_rows_tell_their_complexity_and_round_and_the_summary_page_the_shares(made: Path) -> None:
    rows = [json.loads(line) for line in (made / "data.jsonl").read_text().splitlines()]
    assert len(rows) == 90
    assert {row["provenance"]["round"] for row in rows} == {1, 2, 3}
    assert all(row["provenance"]["complexity"] > 0 for row in rows)
    page = (made / "data.jsonl.summary.txt").read_text()
    shares = [float(share) for share in re.findall(r"round [123]: ([\d.]+)% inside the range", page)]
    assert len(shares) == 3 and shares[0] <= shares[1] <= shares[2] and shares[0] < shares[2]
    assert "complexity under the base of debug: range 0.000 to" in page
    assert "samples with calls by complexity" in page and "tools shown (doublings)" in page
    assert sorted(path.name for path in made.iterdir()) == ["data.jsonl", "data.jsonl.summary.txt", "my_tools.py"]


@pytest.mark.slow
def test_a_killed_command_ends_where_an_undisturbed_one_does(made: Path, tmp_path: Path) -> None:
    journal = tmp_path / "data.jsonl.journal"
    process = subprocess.Popen(command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (journal.exists() and '"round": 2' in journal.read_text()):
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert journal.exists() and not (tmp_path / "data.jsonl").exists()
    done = subprocess.run(command(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "round 2" in done.stdout and "solved before tuning" not in done.stdout, "the range is known already"
    assert (tmp_path / "data.jsonl").read_text() == (made / "data.jsonl").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--complexity", "nope"), "--recipe nope: no such recipe"),
        (("--rounds", 0), "--rounds 0: must be at least 1"),
        (("--probe", 0), "--probe 0: must be at least 1"),
        (("--complexity", "thinking.yaml"), "--complexity thinking.yaml: its recipe asks for a think part"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_exit_code_2(
    tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    (tmp_path / "thinking.yaml").write_text(
        "name: thinking\nmodel: {base: random:llama, dtype: float32, think: true}\n"
    )
    asked = command(tmp_path, *arguments)
    done = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr


def test_a_run_is_measured_by_its_last_step_and_not_written_to(tmp_path: Path) -> None:
    recipe = Recipe.load("debug")
    store = Store.open(tmp_path, "debug", recipe.to_yaml(), None)
    with pytest.raises(ValueError, match="no iteration is finished"):
        learner_for(str(store.run), QUIET)
    for iteration in (0, 1):
        (store.folder(iteration) / "checkpoint").mkdir()
        store.commit(iteration, {"checkpoint": f"iter_{iteration:03d}/checkpoint"})
    before = sorted(store.run.rglob("*"))
    learner = learner_for(str(store.run), QUIET)
    assert learner.checkpoint == Checkpoint(store.run / "iter_001" / "checkpoint")
    assert learner.name == f"{store.run}, iteration 1"
    assert learner_for("debug", QUIET).checkpoint == Checkpoint(None)
    assert sorted(store.run.rglob("*")) == before


def test_a_row_is_read_back_as_its_sample() -> None:
    for each in (ONE, TWO, NONE):
        assert sample_of(row_of(each, provenance={"round": 2})) == each
