"""The on-policy stage on a tiny model: it learns, it says what it sees, it stops, and it goes on after any kill."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_loop import assert_same_outcome, lines_of, run_of
from toys import NONE, ONE, PARIS, SAMPLES
from updates import BASE, FULL, LORA, QUIET

from iterft import Recipe, build
from iterft.config import GrpoSettings, ModelSettings
from iterft.dialects.hermes import HERMES
from iterft.envs.recorded import RecordedEnvironment
from iterft.log import Log
from iterft.rollout import Rollout, World
from iterft.stages import entropy_grpo
from iterft.stages.dpo import DpoStage
from iterft.stages.entropy_grpo import EntropyGrpoStage
from iterft.stages.groups import draw
from iterft.stages.guards import collapse, rollout_figures
from iterft.stages.trainee import Trainee, open_trainee
from iterft.template import Template
from iterft.types import Checkpoint, Completion, Experience, PartialTurn, Reward, Sample, Trajectory, Turn

MAX_NEW_TOKENS = 12
SMALL = GrpoSettings(
    num_steps=3, num_prompts=2, num_samples=6, temperature=1.0, lr=5e-3, kl_weight=0.01, min_call_share=0.0,
    entropy_weight=0.0,
)  # fmt: skip
EXPERIENCE = Experience(SAMPLES, (), 7)


@dataclass(frozen=True)
class LikesE:
    """A verifier that even a random model can please a little: the share of the letter e, times three."""

    def __call__(self, trajectory: Trajectory) -> Reward:
        text = trajectory.turns[-1].content
        return Reward(min(1.0, 3 * text.count("e") / max(1, len(text))))

    def explain(self, trajectory: Trajectory) -> str:
        return ""

    def objection(self, sample: Sample, partial: PartialTurn) -> str:
        return ""


def stage_of(
    base: str, tokenizer: Any, log: Log = QUIET, model: ModelSettings = LORA, policy: str = "hf", **changes: Any
) -> EntropyGrpoStage:
    overrides = [f"policy.max_new_tokens={MAX_NEW_TOKENS}", f"policy.kind={policy}", "policy.kv_cache_gib=0.5"]
    recipe = Recipe.load("debug", overrides)
    serve = build.serve(replace(recipe, model=model), base, Template(tokenizer, HERMES), QUIET)
    world = World(HERMES, RecordedEnvironment(), LikesE())
    return EntropyGrpoStage(base, model, replace(SMALL, **changes), MAX_NEW_TOKENS, serve, world, log)


def steps_of(metrics: Path) -> list[dict[str, Any]]:
    return [row for row in lines_of(metrics) if row["event"] == "grpo"]


def weights_of(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    assert checkpoint.path is not None
    return load_file(checkpoint.path / "adapter_model.safetensors")


def assert_same_weights(first: Checkpoint, second: Checkpoint) -> None:
    left, right = weights_of(first), weights_of(second)
    assert left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_passes": 2, "prompts_per_update": 1, "loss_type": "dapo", "lr": 1e-2},
        {"ratio": "sequence", "clip_cov_share": 0.01},
        {"top_entropy_share": 0.5, "loss_type": "dr_grpo", "num_steps": 24},  # half of the tokens: half as fast
    ],
    ids=["plain", "several updates", "sequence ratio", "few tokens"],
)
def test_a_policy_learns_what_is_rewarded(base: str, tokenizer: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    """All weights are tuned: an adapter moves the logits of a random model hardly at all."""
    log = Log(tmp_path / "metrics.jsonl", quiet=True)
    eager: dict[str, Any] = {
        "num_steps": 12,
        "num_samples": 12,
        "num_prompts": 4,
        "lr": 2e-2,
        "kl_weight": 0.0,
        **changes,
    }
    done = stage_of(base, tokenizer, log, FULL, **eager)(BASE, EXPERIENCE, tmp_path / "checkpoint")
    steps = steps_of(tmp_path / "metrics.jsonl")
    first, last = (sum(step["reward"] for step in part) / 2 for part in (steps[:2], steps[-2:]))
    assert last > first + 0.1, [step["reward"] for step in steps]
    assert done.path is not None
    names = {path.name for path in done.path.iterdir()}
    assert "model.safetensors" in names and "optimizer.pt" not in names


def test_each_step_says_what_it_has_seen(
    base: str, tokenizer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage_of(base, tokenizer, Log(tmp_path / "metrics.jsonl"), num_steps=2)(BASE, EXPERIENCE, tmp_path / "checkpoint")
    steps = steps_of(tmp_path / "metrics.jsonl")
    assert [step["step"] for step in steps] == [1, 2]
    for step in steps:
        assert {"reward", "passed", "calls", "unparsable", "tokens", "entropy", "kl", "clip_share", "grad_norm"} <= set(
            step
        )
        assert step["groups"] == 2 and 0 <= step["zero_variance"] <= 2
        for figure in ("entropy", "surprise"):
            assert step[figure] == pytest.approx(7.6, abs=0.2), "of a random model, nearly that of 2,000 tokens"
        assert step["unique_tokens"] < step["sequence_tokens"]
    assert steps[0]["kl"] == pytest.approx(0.0, abs=1e-6), "it starts from the reference"
    assert steps[1]["kl"] > 1e-6
    shown = capsys.readouterr().out
    assert "step 1/2: reward" in shown and "groups agree" in shown


@pytest.mark.slow
def test_a_stage_killed_in_any_step_ends_where_an_undisturbed_one_does(
    base: str, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(name: str) -> Checkpoint:
        torch.randn(3)  # what was drawn before must not matter
        return stage_of(base, tokenizer, num_passes=2)(BASE, EXPERIENCE, tmp_path / name / "checkpoint")

    undisturbed = start("undisturbed")
    save, step = Trainee.save, Trainee.step
    num_steps, saved = [0], set()

    def dying_step(self: Trainee, max_grad_norm: float) -> float:
        num_steps[0] += 1
        if num_steps[0] in (2, 5, 9):
            raise KeyboardInterrupt
        return step(self, max_grad_norm)

    def dying_save(self: Trainee, out: Path) -> Checkpoint:
        done = save(self, out)
        if out.name not in saved:
            saved.add(out.name)
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(Trainee, "save", dying_save)
    monkeypatch.setattr(Trainee, "step", dying_step)
    num_kills = 0
    while True:
        try:
            killed = start("killed")
            break
        except KeyboardInterrupt:
            num_kills += 1
    assert num_kills >= 5
    assert_same_weights(undisturbed, killed)
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {"checkpoint"}, "nothing is left behind"


@pytest.mark.slow
def test_a_collapse_ends_the_stage_and_keeps_the_checkpoint_before_it(
    base: str, tokenizer: Any, tmp_path: Path
) -> None:
    """The same steps twice, the second time with a limit that one of them is the first to fall below. Which one it is
    differs from one kind of CPU to the next: rounding decides what is sampled."""
    log = Log(tmp_path / "metrics.jsonl", quiet=True)
    fast: dict[str, Any] = {"lr": 0.03, "kl_weight": 0.0, "num_samples": 12, "num_steps": 8}
    stage_of(base, tokenizer, log, FULL, **fast)(BASE, EXPERIENCE, tmp_path / "free" / "checkpoint")
    entropies = [step["surprise"] for step in steps_of(tmp_path / "metrics.jsonl")]
    fallen = next(index for index in range(2, 8) if entropies[index] < min(entropies[:index]))
    limit = (min(entropies[:fallen]) + entropies[fallen]) / 2
    for num_steps in (8, fallen):  # the update to blame is one of many, or the last
        stage = stage_of(base, tokenizer, QUIET, FULL, min_entropy=limit, **{**fast, "num_steps": num_steps})
        out = tmp_path / f"{num_steps} steps" / "checkpoint"
        for _ in range(2):  # started again, it stops again
            with pytest.raises(
                ValueError, match=rf"grpo, step {fallen + 1}: the mean surprise of a token .* grpo\.min_entropy"
            ) as error:
                stage(BASE, EXPERIENCE, out)
            good = Path(str(error.value).removesuffix(".").split("the last good checkpoint is ")[1])
            assert good == out.with_name("checkpoint-steps") / f"step_{fallen - 1:03d}"
            assert (good / "model.safetensors").is_file()
        assert not out.exists()


def test_a_call_share_below_its_limit_stops_at_the_first_step(base: str, tokenizer: Any, tmp_path: Path) -> None:
    stage = stage_of(base, tokenizer, min_call_share=0.5, samples="all")
    with pytest.raises(
        ValueError, match=r"step 1: where a call is right, 0 % .* grpo\.min_call_share 0\.5.*the stage began so, with "
    ):
        stage(BASE, EXPERIENCE, tmp_path / "checkpoint")


@pytest.mark.slow
def test_samples_chosen_for_what_fails_are_measured_by_how_they_began(
    base: str, tokenizer: Any, tmp_path: Path
) -> None:
    stage = stage_of(base, tokenizer, min_call_share=0.5, num_steps=2)
    stage(BASE, EXPERIENCE, tmp_path / "checkpoint")  # a random policy never calls, and did not before
    four = replace(stage.settings, num_samples=7, samples="all")
    stage.settings = four
    stage(BASE, replace(EXPERIENCE, samples=(ONE, NONE)), tmp_path / "few" / "checkpoint")  # 7 turns tell nothing


def test_a_gradient_that_is_no_number_stops_the_stage_and_keeps_the_weights(base: str) -> None:
    trainee = open_trainee(base, BASE, None, LORA, 1e-3, 0, QUIET)
    before = [parameter.detach().clone() for parameter in trainee.trained]
    for parameter in trainee.trained:
        parameter.grad = torch.full_like(parameter, float("nan"))
    with pytest.raises(ValueError, match=r"the gradient of an update is nan; in another run lower grpo\.lr"):
        trainee.step(1.0)
    assert all(torch.equal(old, new) for old, new in zip(before, trainee.trained, strict=True))


def rollout(turn: Turn, reward: float = 0.0) -> Rollout:
    return Rollout(Completion((1, 2, 3), (0.0,) * 3, "stop"), turn, Reward(reward))


def test_figures_tell_calls_that_are_right_from_calls_that_are_not_needed() -> None:
    made, silent, broken = Turn("", (PARIS,), thought="so"), Turn("Hm."), Turn("[", error="left open")
    rows = [[rollout(made, 1.0), rollout(silent)], [rollout(made), rollout(broken)]]
    figures = rollout_figures([ONE, NONE], rows)
    assert figures == {
        "reward": 0.25, "passed": 0.25, "unparsable": 0.25, "thought": 0.5, "tokens": 3.0, "surprise": 0.0,
        "calls": 0.5, "unneeded_calls": 0.5,
    }  # fmt: skip
    assert "calls" not in rollout_figures([NONE], rows[1:])


def test_collapse_is_told_from_figures_that_are_known() -> None:
    settings = GrpoSettings(min_call_share=0.3, min_entropy=0.01)
    assert collapse({"calls": 0.3, "surprise": 0.01}, settings) == ""
    assert collapse({"surprise": 0.5}, settings) == "", "no sample asked for a call"
    assert "grpo.min_call_share" in collapse({"calls": 0.29, "surprise": 0.5}, settings)
    assert collapse({"calls": 0.29, "surprise": 0.5}, settings, usual_calls=0.5) == "", "not half of what it was"
    assert "grpo.min_call_share" in collapse({"calls": 0.24, "surprise": 0.5}, settings, usual_calls=0.5)
    assert "grpo.min_entropy" in collapse({"surprise": float("nan")}, settings)
    assert "grpo.min_entropy" in collapse({"calls": 0.9, "surprise": 0.009}, settings)


def test_no_sample_comes_twice_in_a_step_and_all_come_before_any_comes_again() -> None:
    samples = [replace(ONE, id=str(number)) for number in range(7)]
    steps = [[sample.id for sample in draw(samples, 3, step, 0)] for step in range(4)]
    assert all(len(set(step)) == 3 for step in steps)
    assert len({*steps[0], *steps[1]}) == 6 and len({*steps[2], *steps[3]}) == 6
    assert steps[:2] != steps[2:]
    assert [sample.id for sample in draw(samples, 3, 1, 0)] == steps[1], "a step's samples depend on nothing else"
    assert steps[0] != [sample.id for sample in draw(samples, 3, 0, 1)]
    assert len(draw(samples[:2], 3, 5, 0)) == 2


def test_groups_that_agree_are_never_forwarded(
    base: str, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path / "metrics.jsonl", quiet=True)
    stage = stage_of(base, tokenizer, log, num_steps=1)
    stage.world = replace(stage.world, verifier=build.REWARDS["call_match"]())
    monkeypatch.setattr(entropy_grpo, "group_loss", None)
    experience = replace(EXPERIENCE, samples=(ONE, replace(ONE, id="again")))
    done = stage(BASE, experience, tmp_path / "checkpoint")
    (step,) = steps_of(tmp_path / "metrics.jsonl")
    assert step["zero_variance"] == step["groups"] == 2 and step["unique_tokens"] == 0
    assert all((weight == 0).all() for name, weight in weights_of(done).items() if "lora_B" in name)
    stage.settings = replace(stage.settings, min_entropy=20.0)
    with pytest.raises(ValueError, match=r"step 1: the mean surprise of a token is 7\.\d nats"):
        stage(BASE, experience, tmp_path / "more" / "checkpoint")  # which shows although no entropy is computed


@pytest.mark.slow
def test_weights_that_were_trained_are_gone_when_the_next_are_loaded(base: str, tokenizer: Any, tmp_path: Path) -> None:
    def trainees() -> set[int]:
        return {id(one) for one in gc.get_objects() if isinstance(one, Trainee)}

    gc.collect()
    before = trainees()  # other tests may have kept theirs
    gc.disable()
    try:
        stage_of(base, tokenizer, num_steps=1)(BASE, EXPERIENCE, tmp_path / "checkpoint")
        assert not trainees() - before
    finally:
        gc.enable()


def test_the_sampled_log_probs_are_those_that_training_starts_from(base: str, tokenizer: Any) -> None:
    stage = stage_of(base, tokenizer)
    rows, groups = stage.roll_out(BASE, [ONE], 3)
    trainee = open_trainee(base, BASE, None, LORA, 1e-3, 0, QUIET)
    (row,), (group,) = rows, groups
    log_probs, _ = trainee.look(group.prompt, group.turns, 1.0)
    for rollout, scores in zip(row, log_probs, strict=True):
        assert scores[: len(rollout.completion.ids)].tolist() == pytest.approx(rollout.completion.logprobs, abs=1e-4)


def test_the_reference_is_where_the_stage_began(base: str, tokenizer: Any, tmp_path: Path) -> None:
    """Not the base: a warm-up lies between. And training moves the policy, never the reference."""
    start = stage_of(base, tokenizer, num_steps=1)(BASE, EXPERIENCE, tmp_path / "start")
    trainee = open_trainee(base, start, start, LORA, 1e-2, 0, QUIET)
    prompt, turns = (5, 6, 7, 8), ((9, 10), (11, 12, 13))
    own, _ = trainee.look(prompt, turns, 1.0)
    with trainee.as_reference():
        before, _ = trainee.look(prompt, turns, 1.0)
    assert torch.equal(own, before)
    trainee.learn(lambda: -trainee.score(prompt, turns, 1.0)[0].sum())
    assert trainee.step(1.0) > 0
    moved, _ = trainee.look(prompt, turns, 1.0)
    with trainee.as_reference():
        after, _ = trainee.look(prompt, turns, 1.0)
    assert torch.equal(before, after) and (moved - own).abs().max() > 1e-3
    assert all(parameter.requires_grad for parameter in trainee.trained)
    plain = open_trainee(base, BASE, BASE, LORA, 1e-2, 0, QUIET)
    with plain.as_reference():
        assert (plain.look(prompt, turns, 1.0)[0] - before).abs().max() > 1e-4, "the start is not the base"
    assert not list(trainee.save(tmp_path / "saved").path.glob("reference*"))  # type: ignore[union-attr]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_a_model_that_cannot_share_prefixes_has_the_same_scores(base: str, temperature: float) -> None:
    prompt, turns = tuple(range(5, 40)), ((9, 10), (11, 12, 13), (9, 14))
    shared, whole = (
        open_trainee(base, BASE, None, replace(LORA, share_prefixes=is_shared), 1e-3, 0, QUIET)
        for is_shared in (True, False)
    )
    for mine, theirs in zip(
        shared.look(prompt, turns, temperature), whole.look(prompt, turns, temperature), strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    assert shared.counters.unique_tokens < 0.5 * whole.counters.unique_tokens


GRPO = (
    "grpo.num_steps=2",
    "grpo.num_prompts=2",
    "grpo.num_samples=3",
    "grpo.reward=template_match",
    "model.think=true",
)


@pytest.mark.slow
def test_a_run_with_two_updates_an_iteration_goes_on_after_a_kill_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ("iters=1", "stages=[dpo,entropy_grpo]", *GRPO)
    whole = run_of(tmp_path / "whole", *overrides)
    step, num_updates = EntropyGrpoStage.step, []

    def dying(self: EntropyGrpoStage, number: int, *rest: Any) -> None:
        if len(num_updates) < 2:
            num_updates.append(number)
            raise KeyboardInterrupt
        step(self, number, *rest)

    monkeypatch.setattr(EntropyGrpoStage, "step", dying)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_of(tmp_path / "killed", *overrides)
    killed = run_of(tmp_path / "killed", *overrides)
    assert_same_outcome(whole.folder, killed.folder, 1)
    names = {path.name for path in (whole.folder / "iter_001").iterdir()}
    assert {"checkpoint", "pairs.jsonl"} <= names and not {name for name in names if name[:1].isdecimal()}
    events = [json.loads(line)["event"] for line in (killed.folder / "metrics.jsonl").open()]
    assert events.count("audit") == 1, "the first update is not done again"
    assert events.count("grpo") == 2


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["deficient", "all"])
def test_a_run_of_grpo_alone_searches_nothing(tmp_path: Path, pool: str) -> None:
    run = run_of(tmp_path / "run", "iters=1", "stage.kind=grpo", f"grpo.samples={pool}", *GRPO)
    names = {path.name for path in (run.folder / "iter_001").iterdir()}
    assert "trees.jsonl" not in names and "pairs.jsonl" not in names
    assert ("samples.jsonl" in names) is (pool == "deficient")
    assert set(run.records[1]["seconds"]) == {"update", "evaluation"} | (
        {"deficiency"} if pool == "deficient" else set()
    )


def test_grpo_is_the_same_stage_without_lambda(base: str, tokenizer: Any) -> None:
    recipe = Recipe.load("debug", ["stages=[grpo,entropy_grpo]", "grpo.entropy_weight=0.3", "model.think=true"])
    serve = build.serve(recipe, base, Template(tokenizer, HERMES), QUIET)
    stages = build.stages(recipe, base, tokenizer, serve, QUIET)
    assert list(stages) == ["1-grpo", "2-entropy_grpo"]
    settings = [stage.settings for stage in stages.values() if isinstance(stage, EntropyGrpoStage)]
    assert settings == [replace(recipe.grpo, entropy_weight=0.0), recipe.grpo]


@pytest.mark.parametrize("kinds", [("dpo", "grpo"), ("grpo", "dpo")])
def test_dpo_knows_whether_another_update_goes_before_it(base: str, tokenizer: Any, kinds: tuple[str, str]) -> None:
    recipe = Recipe.load("debug", [f"stages=[{','.join(kinds)}]"])
    serve = build.serve(recipe, base, Template(tokenizer, HERMES), QUIET)
    made = build.stages(recipe, base, tokenizer, serve, QUIET).values()
    assert [stage.is_first for stage in made if isinstance(stage, DpoStage)] == [kinds[0] == "dpo"]
