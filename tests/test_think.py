"""Turns that think first: prompts that ask for it, references that do it, rewards that look at it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from toys import NONE, ONE, PARIS, ROME, TWO, call, policy_of, sample_of, world_of

from iterft import Recipe, build
from iterft.augment import augment
from iterft.augment.made import NO_TOOL_FITS, joined, without_right_tools
from iterft.augment.pool import load_pool
from iterft.chat import THINK_FIRST, Dialect, parse, think_span
from iterft.config import REWARDS, DataSettings
from iterft.data import load_samples
from iterft.protocols import Verifier
from iterft.rewards.call_match import CallMatch
from iterft.rewards.graded_match import GradedMatch, correctness
from iterft.rewards.template_match import TemplateMatch
from iterft.rollout import reference_calls, reference_text, reference_thought, reference_turns
from iterft.stages.groups import inside_thought
from iterft.synth.stock import built_in_tools
from iterft.synth.tasks import generate
from iterft.synth.thoughts import calls_thought
from iterft.synth.values import Value
from iterft.template import Template, prompt_text
from iterft.tokens import encode_turn, num_tokens_of
from iterft.types import Reward, Sample, ToolCall, Trajectory, Turn
from iterft.warmup import learnt_part

THINKING = [replace(dialect, thinks=True) for dialect in build.DIALECTS.values()]
in_each = pytest.mark.parametrize("dialect", THINKING, ids=lambda dialect: dialect.name)
SAMPLES = generate(200, 5, "train")


def judged(verifier: Verifier, sample: Sample, *calls: ToolCall, thought: str | None = "so", error: str = "") -> Reward:
    return verifier(Trajectory(sample, (Turn("", calls, error, thought),)))


@in_each
def test_a_reference_thinks_and_then_says_the_same_calls(dialect: Dialect) -> None:
    for sample in SAMPLES:
        turn = parse(dialect, reference_text(dialect, sample))
        assert turn.thought == sample.thought != ""
        assert turn.calls == reference_calls(sample) and turn.error == ""
        assert turn.content == ("" if sample.answer else sample.text)
        assert "<think>" not in reference_text(replace(dialect, thinks=False), sample)


def test_a_thought_of_the_built_in_tasks_names_each_tool_and_gives_each_value() -> None:
    for sample in SAMPLES:
        lines = sample.thought.split("\n")
        assert len(lines) == max(1, len(sample.answer))
        for line, wanted in zip(lines, sample.answer, strict=False):
            assert f": {wanted.name}" in line
            for key, accepted in wanted.arguments.items():
                if "" not in accepted and not isinstance(accepted[0], dict):
                    assert f", {key} = " in line
        if sample.kind == "missing_info":
            assert sample.thought.endswith(" is not said")
        if sample.kind == "no_tool":
            assert "no tool" in sample.thought


def test_words_in_a_thought_are_words_of_the_request() -> None:
    quoted = 0
    for sample in SAMPLES:
        said = " ".join(message["content"] for message in sample.prompt.messages).lower()
        for part in sample.thought.split('("')[1:]:
            words, found, _ = part.partition('")')
            assert found and words.lower() in said
            quoted += 1
    assert quoted > 20


@in_each
def test_prompts_ask_to_think_where_the_dialect_does(dialect: Dialect, tokenizer: Any) -> None:
    asked, silent = (
        prompt_text(Template(tokenizer, one), ONE.prompt) for one in (dialect, replace(dialect, thinks=False))
    )
    assert asked.count(THINK_FIRST) == 1 and THINK_FIRST not in silent
    own = replace(ONE.prompt, messages=({"role": "system", "content": "Be brief."}, *ONE.prompt.messages))
    text = prompt_text(Template(tokenizer, dialect), own)
    assert text.index("Be brief.") < text.index(THINK_FIRST) < text.index("<tools>")


def test_a_sample_without_a_thought_is_not_learnt_from_where_turns_think(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    row = '{"id": "%s", "messages": [{"role": "user", "content": "hi"}], "tools": [], "answer": [], "text": "Hi!"%s}\n'
    rows.write_text(row % ("a", "") + row % ("b", ', "thought": "small talk"'), encoding="utf-8")
    files = [f"data.train={rows}", "data.held_out=builtin"]
    found = build.data(Recipe.load("debug", [*files, "model.think=true"]), None)
    assert [sample.id for sample in found.train] == ["b"] and found.train[0].thought == "small talk"
    assert found.dropped == {"train: it has no think part to learn (model.think)": 1}
    assert len(build.data(Recipe.load("debug", files), None).train) == 2


def test_a_thought_that_closes_itself_cannot_be_read(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        '{"id": "a", "messages": [{"role": "user", "content": "x"}], "tools": [], "answer": [], "text": "y", '
        '"thought": "a </think> b"}\n',
        encoding="utf-8",
    )
    with pytest.raises(ValueError, match="'thought' not a string, or it holds </think>"):
        load_samples(str(rows), "data.train", 0.0, "own")


def test_beginnings_of_references_think_too() -> None:
    world = world_of(replace(world_of().dialect, thinks=True))
    sample = replace(TWO, thought="two cities")
    policy = policy_of()
    (turns,) = reference_turns(policy, world, [sample])
    texts = ["".join(policy.token_texts(turn.ids)) for turn in turns]
    assert len(texts) == 2 and all(text.startswith("<think>two cities</think>\n") for text in texts)
    assert [len(parse(world.dialect, text).calls) for text in texts] == [2, 1]


def test_of_plain_words_the_think_part_is_learnt_whole(tokenizer: Any) -> None:
    sample = replace(NONE, thought="nothing fits this request, so I say that it cannot be done")
    dialect = replace(world_of().dialect, thinks=True)
    turn = encode_turn(tokenizer, reference_text(dialect, sample))
    beginning = reference_thought(dialect, sample)
    count = num_tokens_of(tokenizer, turn, beginning)
    assert tokenizer.decode(turn[:count]).startswith(beginning) and count < len(turn) - 4
    assert not tokenizer.decode(turn[: count - 1]).startswith(beginning)
    assert learnt_part(sample, turn, 4, count) == turn[: count + 4]
    assert learnt_part(replace(sample, answer=(PARIS,)), turn, 4, count) == turn
    assert num_tokens_of(tokenizer, turn, "") == 0


@pytest.mark.parametrize(
    ("texts", "inside"),
    [
        (["<think>", "a", " b", "</think>", "\n", "[f()]"], [False, True, True, False, False, False]),
        (["<th", "ink>a", " b</", "think>x"], [False, False, True, False]),  # a token counts where it begins
        (["\n<think>", "", "a", "</think>"], [False, True, True, False]),  # part of a character
        (["<think>", "a", " b"], [False] * 3),  # never closed
        (["Hm <think>", "a", "</think>"], [False] * 3),  # not at the beginning
        (["<think>", "</think>", "x", ""], [False] * 4),
    ],
)
def test_tokens_of_the_think_part_are_those_between_its_tags(texts: list[str], inside: list[bool]) -> None:
    assert list(inside_thought(texts)) == inside


@in_each
def test_the_think_span_is_what_the_dialects_read(dialect: Dialect) -> None:
    for text in (
        "<think>a</think>x",
        " \n<think>\na <b\n</think>\n",
        "<think>a",
        "x <think>a</think>",
        "<think></think>",
    ):
        span = think_span(text)
        assert (text[slice(*span)] if span else None) == parse(dialect, text).thought


def test_the_binary_reward_asks_for_the_template_and_the_calls() -> None:
    verify = TemplateMatch()
    assert judged(verify, ONE, PARIS) == Reward(1.0, parts={"calls": 1.0})
    assert judged(verify, ONE, PARIS, thought=None) == Reward(0.0, "unparsable")
    assert judged(verify, ONE, ROME).reason == "wrong_value"
    assert judged(verify, ONE, error="cut off").reason == "unparsable"
    assert judged(verify, ONE).reason == "no_call"


def test_where_no_call_is_right_the_reply_must_not_parse_and_that_is_all() -> None:
    verify = TemplateMatch()
    assert judged(verify, NONE).value == judged(verify, NONE, thought=None).value == 1.0
    assert judged(verify, NONE, error="cut off").value == 1.0, "it does not parse"
    assert judged(verify, NONE, PARIS) == Reward(0.0, "unneeded_call")


@pytest.mark.parametrize("verify", [TemplateMatch(), GradedMatch()], ids=["template", "graded"])
def test_every_failure_is_explained_and_no_pass_is(verify: Verifier) -> None:
    for sample in (ONE, NONE):
        for calls in ((), (PARIS,)):
            for thought in (None, "so"):
                trajectory = Trajectory(sample, (Turn("", calls, "", thought),))
                assert bool(verify.explain(trajectory)) is (verify(trajectory).value < 1)


@in_each
def test_a_turn_is_objected_to_once_the_template_cannot_be_met(dialect: Dialect) -> None:
    verify = TemplateMatch()
    right = f"<think>hm</think>\n{dialect.render([PARIS])}"
    for end in range(len(right) + 1):
        assert verify.objection(ONE, dialect.scan(right[:end]).partial) == "", right[:end]
    assert verify.objection(ONE, dialect.scan(dialect.render([PARIS])).partial) == "unparsable"
    assert verify.objection(NONE, dialect.scan(dialect.render([PARIS]) + "\n").partial) == "unneeded_call"
    assert verify.objection(NONE, dialect.scan("No.").partial) == ""


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        # names + keys + values of at most 1 + 1 call + 2 arguments
        ((PARIS,), 3.0),
        ((call("weather", city="Paris", days=4),), 6 * (1 + 1 + 1) / 4 - 3),
        ((call("weather", city="Paris"),), 6 * (1 + 1 / 2 + 1) / 4 - 3),
        ((call("weather", city="Paris", days=3, units="C"),), 6 * (1 + 2 / 3 + 2) / 4 - 3),
        ((call("book", city="Paris", days=3),), -3.0),
        ((PARIS, call("book", city="Paris", seats=1)), 6 * (1 / 2 + 1 + 2) / 4 - 3),
        ((PARIS, PARIS), 6 * (1 / 2 + 1 + 2) / 4 - 3),
        ((), -3.0),
    ],
)
def test_the_graded_reward_is_that_of_toolrl(calls: tuple[ToolCall, ...], expected: float) -> None:
    assert correctness(ONE, calls) == pytest.approx(expected)
    reward = judged(GradedMatch(), ONE, *calls)
    assert reward.value == pytest.approx((1 + expected + 3) / 7)
    assert (reward.value == 1.0) is (reward.reason == "") is (calls == (PARIS,))
    assert judged(GradedMatch(), ONE, *calls, thought=None).value == pytest.approx((expected + 3) / 7)


def test_graded_calls_are_paired_with_the_entries_they_are_most_like() -> None:
    assert correctness(TWO, [ROME, PARIS]) == pytest.approx(3.0)
    one_right = correctness(TWO, [call("weather", city="Rome", days=9), PARIS])
    assert one_right == pytest.approx(6 * (1 + (1 + 1) + (1 + 2)) / 7 - 3)


def test_graded_without_a_right_call_is_all_or_nothing() -> None:
    assert judged(GradedMatch(), NONE).value == 1.0
    assert judged(GradedMatch(), NONE, PARIS).value == pytest.approx(1 / 7)
    assert judged(GradedMatch(), NONE, error="cut off").value == 0.0


def test_an_optional_argument_left_out_is_right() -> None:
    sample = replace(sample_of("x"), answer=(ToolCall("weather", {"city": ["Paris"], "days": [3, ""]}),))
    assert correctness(sample, [call("weather", city="Paris")]) == pytest.approx(3.0)
    assert CallMatch()(Trajectory(ONE, (Turn("", (PARIS,)),))).value == 1.0


def test_every_reward_gives_a_reference_that_thinks_all() -> None:
    assert tuple(build.REWARDS) == REWARDS, "a recipe may name exactly these"
    for name, verifier in build.REWARDS.items():
        for sample in SAMPLES[:50]:
            turn = Turn("", reference_calls(sample), thought=sample.thought)
            assert verifier()(Trajectory(sample, (turn,))).value == 1.0, name


def test_augmented_samples_think_of_what_they_now_are() -> None:
    pool = load_pool("", SAMPLES, [])
    made, _ = without_right_tools(SAMPLES, 10, pool, Random(0))
    assert {sample.thought for sample in made} == {NO_TOOL_FITS}
    by_id = {sample.id: sample for sample in SAMPLES}
    pairs = joined(SAMPLES, 10, pool, Random(0))
    assert pairs
    for sample in pairs:
        first, second = (by_id[name] for name in sample.id.removesuffix("+joined").split("+"))
        assert sample.thought == f"{first.thought}\n{second.thought}"
    unknown = [replace(sample, thought="") for sample in SAMPLES]
    settings = DataSettings(no_call_share=0.2, parallel_share=0.2)
    assert {sample.thought for sample in augment(unknown, settings, pool, 0)} == {""}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.think=true", "data.masked_share=0.5"], "data.masked_share: must be 0 with model.think=true"),
        (["model.think=true", "data.reworded_share=0.5"], "data.reworded_share: must be 0 with model.think=true"),
        (["grpo.reward=template_match", "stage.kind=grpo"], "grpo.reward: template_match asks for think parts"),
        (["stage.kind=grpo", "model.tuning=full"], "grpo.kl_weight: must be 0 with model.tuning=full"),
        (["stages=[dpo,grpo]", "grpo.clip_cov_low=6"], "grpo.clip_cov_low: must be less than grpo.clip_cov_high"),
        (["stage.kind=grpo", "grpo.top_entropy_share=0"], "grpo.top_entropy_share: must be greater than 0"),
        (["stages=[dpo,gpro]"], "stages: may hold dpo, grpo, entropy_grpo"),
        (["grpo.num_samples=1"], "grpo.num_samples: must be at least 2"),
    ],
)
def test_settings_that_do_not_go_together_are_named(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError) as error:
        Recipe.load("debug", overrides)
    assert message in str(error.value)
    assert Recipe.load("debug", ["grpo.reward=template_match"]).stage_kinds == ["dpo"], "of no concern to dpo"


def test_an_object_in_a_thought_is_the_one_that_the_call_has() -> None:
    """What is accepted of an object is a list for each of its fields, which no call has."""
    tool = next(tool for tool in built_in_tools() if tool.spec.parameters)
    parameter = tool.spec.parameters[0]
    bindings = {parameter.path: Value("", ({"phrase": ["vegan recipes", "vegan food"], "size": [3, ""]},))}
    thought = calls_thought([(tool.spec, bindings)])
    assert f'{parameter.path} = {{"phrase": "vegan recipes", "size": 3}} (implied)' in thought
