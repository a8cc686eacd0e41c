"""The vLLM policy on the real engine, on a CPU: transformers is the oracle."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import signal
import time
from collections import deque
from collections.abc import Iterator as Iterable
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from test_grpo_stage import EXPERIENCE, stage_of, steps_of
from updates import BASE, FULL, LORA, QUIET

from iterft import Iterator, Recipe
from iterft.config import ModelSettings, PolicySettings
from iterft.dialects.hermes import HERMES
from iterft.log import Log
from iterft.models import load_for_sampling, load_for_training, load_tokenizer, refuse_short_context
from iterft.policies.hf import HfPolicy
from iterft.policies.vllm import VllmPolicy
from iterft.policies.vllm_engine import VllmEngine
from iterft.policies.vllm_start import longest_sequence, refuse_long
from iterft.template import Template
from iterft.types import Checkpoint, Completion, Request

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed (scripts/setup.sh dev)"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="tolerances and kills are those of the engine on a CPU"),
]

SETTINGS = PolicySettings(kind="vllm", max_new_tokens=12, max_rows=8, kv_cache_gib=0.25)
LONGEST = 600
"""Tokens of the longest prompt here."""

Ids = tuple[int, ...]


def ids_of(length: int, seed: int = 0) -> Ids:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(3, 1900, (length,), generator=generator).tolist())


PREFIXES = [ids_of(length, length) for length in (2, 31, 32, 33, 100, LONGEST)]
"""Shorter and longer than a block of KV (32), or just one."""


def template_of(base: str) -> Template:
    return Template(load_tokenizer(base), HERMES)


def engine_of(base: str, folder: Path, model: ModelSettings, **changes: Any) -> VllmEngine:
    return VllmEngine(base, model, replace(SETTINGS, **changes), LONGEST, QUIET, folder / "vllm.log")


def policy_on(engine: VllmEngine, adapter: Any = None, **changes: Any) -> VllmPolicy:
    return VllmPolicy(engine, adapter, template_of(engine.base), replace(engine.settings, **changes))


def oracle(base: str, checkpoint: Checkpoint = BASE, model: ModelSettings = LORA) -> HfPolicy:
    return HfPolicy(load_for_sampling(base, checkpoint, model), template_of(base), SETTINGS)


def save_trained(base: str, folder: Path, model: ModelSettings, seed: int) -> Checkpoint:
    """Weights that say other things than the base does."""
    trained = load_for_training(base, BASE, model, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    trained.save_pretrained(folder)
    return Checkpoint(folder)


def greedy(policy: Any, prefixes: Sequence[Ids] = PREFIXES) -> list[Completion]:
    rows = policy.sample(prefixes, [1] * len(prefixes), 0.0, [0] * len(prefixes))
    return [completions[0] for completions in rows]


def assert_same(mine: Sequence[Completion], theirs: Sequence[Completion], tolerance: float = 1e-4) -> None:
    """The same ids and ends, log-probs within the tolerance."""
    assert [(row.ids, row.finish_reason) for row in mine] == [(row.ids, row.finish_reason) for row in theirs]
    for left, right in zip(mine, theirs, strict=True):
        assert left.logprobs == pytest.approx(right.logprobs, abs=tolerance)


@pytest.fixture(scope="module")
def engine(base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterable[VllmEngine]:
    engine = engine_of(base, tmp_path_factory.mktemp("engine"), LORA)
    yield engine
    engine.close()


@pytest.fixture()
def policy(engine: VllmEngine) -> Iterable[VllmPolicy]:
    with engine.serving(BASE) as adapter:
        yield policy_on(engine, adapter)


def test_greedy_turns_are_those_of_transformers(policy: VllmPolicy, base: str) -> None:
    assert_same(greedy(policy), greedy(oracle(base)))


def test_a_stop_token_ends_a_turn_and_belongs_to_it(policy: VllmPolicy) -> None:
    (whole,) = greedy(policy, PREFIXES[3:4])
    assert whole.finish_reason == "length" and len(whole.ids) == SETTINGS.max_new_tokens
    policy.stop_id = whole.ids[5]
    (row,) = greedy(policy, PREFIXES[3:4])
    assert (row.ids, row.finish_reason) == (whole.ids[: whole.ids.index(policy.stop_id) + 1], "stop")


def test_so_does_another_that_the_model_may_end_with(policy: VllmPolicy) -> None:
    (whole,) = greedy(policy, PREFIXES[3:4])
    end = whole.ids[5]
    policy.template = replace(policy.template, other_stops=frozenset({end}))
    (row,) = greedy(policy, PREFIXES[3:4])
    assert (row.ids, row.finish_reason) == (whole.ids[: whole.ids.index(end) + 1], "stop")
    assert policy.token_texts(row.ids)[-1] == ""


def test_draws_depend_on_seed_and_number_alone(policy: VllmPolicy) -> None:
    (alone,) = policy.sample(PREFIXES[3:4], [2], 1.0, [7])
    among = policy.sample(PREFIXES, [3, 1, 2, 4, 2, 1], 1.0, [1, 2, 3, 7, 4, 5])[3]
    assert_same(among[:2], alone)
    assert len({row.ids for row in among}) == 4
    (other,) = policy.sample(PREFIXES[3:4], [1], 1.0, [8])
    assert other[0].ids not in {row.ids for row in among}, "seed 8, number 0 is not seed 7, number 1"


@pytest.mark.parametrize("temperature", [0.5, 1.5])
def test_logprobs_are_those_of_the_untempered_policy(policy: VllmPolicy, base: str, temperature: float) -> None:
    rows = [row for row, *_ in policy.sample(PREFIXES, [1] * 6, temperature, list(range(6)))]
    continuations = [row.ids for row in rows]
    theirs = oracle(base).logprob(PREFIXES, continuations)
    mine = policy.logprob(PREFIXES, continuations)
    for row, score, expected in zip(rows, mine, theirs, strict=True):
        assert row.logprobs == pytest.approx(expected, abs=1e-4)
        assert score == pytest.approx(expected, abs=1e-4)


def test_of_no_continuation_there_are_no_logprobs_and_one_token_is_prefix_enough(policy: VllmPolicy) -> None:
    empty, single = policy.logprob([PREFIXES[1], (5,)], [(), (6,)])
    assert empty == [] and len(single) == 1 and single[0] < 0


def test_a_stream_gives_what_sample_gives_whatever_else_is_asked_in_between(policy: VllmPolicy) -> None:
    expected = policy.sample(PREFIXES, [3] * 6, 1.0, list(range(6)))
    requests = [Request(prefix, 3, seed) for seed, prefix in enumerate(PREFIXES)]
    queue, found = deque(requests[:2]), {}
    for request, rows in policy.stream(queue, 1.0):
        found[request] = rows
        if len(found) == 1:
            queue.extend(requests[2:])
        policy.logprob([PREFIXES[4]], [(5, 6, 7)])
    assert not queue and set(found) == set(requests)
    for request, rows in zip(requests, expected, strict=True):
        assert_same(found[request], rows)


def test_a_closed_stream_drops_what_is_under_way(policy: VllmPolicy) -> None:
    queue = deque(Request(prefix, 2, 0) for prefix in PREFIXES)
    stream = policy.stream(queue, 1.0)
    next(stream)
    assert len(queue) == 2, "max_rows 8 leaves room for four requests of two rows"
    stream.close()
    assert not policy.engine.engine.has_unfinished_requests() and policy.engine.pending == []


def test_progress_is_told_prefix_by_prefix(policy: VllmPolicy) -> None:
    told: list[int] = []
    policy.sample(PREFIXES, [2] * 6, 1.0, [0] * 6, told.append)
    assert told == [1] * 6


def test_refuted_rows_end_at_once_and_the_others_go_on(policy: VllmPolicy) -> None:
    free = policy.sample(PREFIXES[:3], [2] * 3, 1.0, [3, 4, 5])
    asked: list[int] = []

    def refute(index: int, ids: Sequence[int]) -> bool:
        asked.append(index)
        return index == 1 and len(ids) == 4

    before = policy.counters.sampled
    rows = policy.sample(PREFIXES[:3], [2] * 3, 1.0, [3, 4, 5], refute=refute)
    for index in (0, 2):
        assert_same(rows[index], free[index])
    for cut, whole in zip(rows[1], free[1], strict=True):
        assert (cut.ids, cut.finish_reason) == (whole.ids[:4], "refuted")
        assert cut.logprobs == pytest.approx(whole.logprobs[:4], abs=1e-4)
    assert asked.count(1) == 8, "once for every token"
    assert policy.counters.sampled - before == sum(len(row.ids) for group in rows for row in group)
    assert not policy.engine.engine.has_unfinished_requests()


def test_continuations_share_the_blocks_of_their_prefix_until_it_is_forgotten(policy: VllmPolicy) -> None:
    policy.forget()
    policy.counters = type(policy.counters)()
    policy.sample(PREFIXES[4:5], [4], 1.0, [0])
    assert (policy.counters.misses, policy.counters.hits) == (1, 3)
    assert policy.counters.prefilled == 100 + 3 * (100 - 3 * 32)
    policy.sample(PREFIXES[4:5], [1], 1.0, [0])
    assert (policy.counters.misses, policy.counters.hits) == (1, 4)
    policy.forget()
    policy.sample(PREFIXES[4:5], [1], 1.0, [0])
    assert (policy.counters.misses, policy.counters.hits) == (2, 4)


def test_an_interrupt_reaches_us_alone(policy: VllmPolicy) -> None:
    for process in (*policy.engine.cores, *policy.engine.workers):
        os.kill(process.pid, signal.SIGINT)
    time.sleep(1)
    assert len(greedy(policy)) == len(PREFIXES)


def test_what_is_too_long_is_refused_with_a_way_out(policy: VllmPolicy) -> None:
    with pytest.raises(ValueError, match=r"5000 tokens .* made for 4096; lower data.max_prompt_tokens or policy.max_n"):
        policy.sample([ids_of(5000)], [1], 1.0, [0])
    assert len(greedy(policy)) == len(PREFIXES), "the engine goes on"


@pytest.mark.parametrize(("num_tokens", "room"), [(80, 12), (88, 12), (90, 10), (100, 1), (120, 1)])
def test_a_turn_ends_where_the_model_was_made_for_no_more(policy: VllmPolicy, num_tokens: int, room: int) -> None:
    capped, roomy = (
        VllmPolicy(SimpleNamespace(max_length=100, is_capped=is_capped), None, policy.template, SETTINGS)  # type: ignore[arg-type]
        for is_capped in (True, False)
    )
    request = Request(ids_of(num_tokens), 1, 0)
    assert capped.sampling(request, 0, 1.0).max_tokens == room
    assert roomy.sampling(request, 0, 1.0).max_tokens == 12, "the engine could take more: that is said"


@pytest.mark.parametrize(("context", "takes"), [(2048, 2048), (8192, 4096), (2524, 2524)])
def test_no_more_tokens_are_asked_for_than_the_model_was_made_for(
    base: str, tmp_path: Path, context: int, takes: int
) -> None:
    config = json.loads((Path(base) / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, "max_position_embeddings": context}))
    folder = str(tmp_path)
    refuse_short_context(folder, 1500, 512)
    assert longest_sequence(folder, 1500 + 2 * 512) == takes
    refuse_long(folder, 1500, takes - 1500, takes)
    way_out = "raise data.max" if context > takes else "lower data.max_prompt_tokens or policy.max_new_tokens"
    with pytest.raises(ValueError, match=rf"1500 tokens .* {takes}; {way_out}.*policy\.kind=hf"):
        refuse_long(folder, 1500, takes - 1499, takes)


def test_every_version_of_an_adapter_says_what_transformers_says(engine: VllmEngine, base: str, tmp_path: Path) -> None:
    """The same prompts under one version after the other: KV or weights of the last would show."""
    versions = [BASE, *(save_trained(base, tmp_path / f"v{seed}", LORA, seed) for seed in (1, 2)), BASE]
    said = []
    for checkpoint in versions:
        with engine.serving(checkpoint) as adapter:
            policy = policy_on(engine, adapter)
            said.append(greedy(policy))
            assert_same(said[-1], greedy(oracle(base, checkpoint)))
            scores = policy.logprob(PREFIXES, [row.ids for row in said[-1]])
            assert scores[5] == pytest.approx(said[-1][5].logprobs, abs=1e-4)
            assert list(engine.engine.list_loras()) == ([adapter.lora_int_id] if adapter else [])
    turns = [[row.ids for row in rows] for rows in said]
    assert turns[0] == turns[3] and turns[0] != turns[1] != turns[2] != turns[0]
    assert not engine.engine.list_loras(), "versions that are out of use are evicted"


def test_a_version_saved_over_an_older_one_is_read_anew(engine: VllmEngine, base: str, tmp_path: Path) -> None:
    for seed in (1, 2):
        checkpoint = save_trained(base, tmp_path / "same", LORA, seed)
        with engine.serving(checkpoint) as adapter:
            assert_same(greedy(policy_on(engine, adapter)), greedy(oracle(base, checkpoint)))


@pytest.mark.parametrize("outer", [0, 1])
def test_two_checkpoints_serve_side_by_side(engine: VllmEngine, base: str, tmp_path: Path, outer: int) -> None:
    checkpoints = [save_trained(base, tmp_path / f"v{seed}", LORA, seed) if seed else BASE for seed in (outer, 2)]
    with engine.serving(checkpoints[0]) as first, engine.serving(checkpoints[1]) as second:
        for checkpoint, adapter in zip(checkpoints, (first, second), strict=True):
            assert_same(greedy(policy_on(engine, adapter)), greedy(oracle(base, checkpoint)))
    assert engine.num_users == 0


def test_an_adapter_that_is_not_there_is_named(engine: VllmEngine, tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match=rf"could not load the adapter {tmp_path / 'nothing'}"),
        engine.serving(Checkpoint(tmp_path / "nothing")),
    ):
        pass
    assert engine.num_users == 0


def test_full_weights_of_every_checkpoint_say_what_transformers_says(base: str, tmp_path: Path) -> None:
    engine = engine_of(base, tmp_path, FULL)
    for seed in (1, 2):
        checkpoint = save_trained(base, tmp_path / "same folder", FULL, seed)
        with engine.serving(checkpoint) as adapter:
            assert_same(greedy(policy_on(engine, adapter)), greedy(oracle(base, checkpoint, FULL)))
            with (
                pytest.raises(ValueError, match="one checkpoint at a time"),
                engine.serving(Checkpoint(tmp_path / "other")),
            ):
                pass
    (core,) = engine.cores
    with engine.serving(checkpoint):
        assert engine.cores == [core], "the same weights again need no other engine"
    engine.close()


def test_an_engine_that_cannot_start_says_why(base: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"policy.kind vllm: the engine did not start \(.*100000") as caught:
        engine_of(base, tmp_path, FULL, kv_cache_gib=100_000.0)
    assert str(tmp_path / "vllm.log") in str(caught.value)


@pytest.mark.parametrize(
    ("number", "who", "says"),
    [
        (signal.SIGKILL, "core", "has died .killed by SIGKILL"),
        (signal.SIGKILL, "worker", "has died"),
        (signal.SIGSTOP, "core", "has stalled: no answer for 10 s"),
    ],
)
def test_a_dead_or_stalled_engine_is_reported_and_nothing_is_left_of_it(
    base: str, tmp_path: Path, number: signal.Signals, who: str, says: str
) -> None:
    engine = engine_of(base, tmp_path, LORA, stall_seconds=10.0)
    processes = [core.pid for core in engine.cores] + [worker.pid for worker in engine.workers]
    policy = policy_on(engine)
    stream = policy.stream(deque(Request(prefix, 1, 0, lambda ids: False) for prefix in PREFIXES), 1.0)
    assert len(next(stream)[1]) == 1
    os.kill(engine.cores[0].pid if who == "core" else engine.workers[0].pid, number)
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=rf"the vLLM engine {says}") as caught:
        list(policy.stream(deque([Request(PREFIXES[5], 4, 0)]), 1.0))
    assert time.monotonic() - started < 30
    assert str(tmp_path / "vllm.log") in str(caught.value)
    with pytest.raises(RuntimeError, match=says):
        greedy(policy)
    stream.close()
    deadline = time.monotonic() + 15
    while any(is_running(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(is_running(process) for process in processes)


def is_running(process: int) -> bool:
    return psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE


@pytest.mark.slow
def test_the_whole_loop_runs_on_vllm_and_leaves_no_process(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = set(psutil.Process().children(recursive=True))
    small = ["num_train=30", "num_held_out=6"]
    recipe = Recipe.load(
        "debug",
        [
            *(f"data.{setting}" for setting in small),
            "warmup.num_samples=8",
            "deficiency.num_candidates=6",
            "policy.max_new_tokens=24",
            "policy.kind=vllm",
            "policy.kv_cache_gib=0.5",
            "search.self_weight=0.2",
        ],
    )
    run = Iterator(recipe, tmp_path / "run").run()
    assert [record["iteration"] for record in run.records] == [0, 1, 2]
    assert all(record["pairs"] > 0 for record in run.records[1:])
    events = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert sum(event["event"] == "decoded" for event in events) == 3 + 2 * 2, "evaluations; policies and graders"
    gaps = [event for event in events if event["event"] == "audit"]
    assert len(gaps) == 2, "updates compare the log-probs that vLLM gave with their own"
    shown = capfd.readouterr()
    assert "starting vLLM" in shown.out and "EngineCore" not in shown.out and shown.err == ""
    assert "Loading" in (run.folder / "vllm.log").read_text(), "what the engine says goes there"
    gc.collect()
    left = [process for process in psutil.Process().children(recursive=True) if process not in before]
    assert not [
        child for child in left if is_running(child.pid) and "resource_tracker" not in " ".join(child.cmdline())
    ]


@pytest.mark.slow
def test_group_optimization_draws_its_groups_from_vllm(base: str, tokenizer: Any, tmp_path: Path) -> None:
    log = Log(tmp_path / "metrics.jsonl", quiet=True)
    stage = stage_of(base, tokenizer, log, policy="vllm", num_steps=3)
    done = stage(BASE, EXPERIENCE, tmp_path / "checkpoint")
    steps = steps_of(tmp_path / "metrics.jsonl")
    assert any(step["groups"] > step["zero_variance"] for step in steps)
    assert all(step["surprise"] == pytest.approx(step["entropy"], abs=0.5) for step in steps)
    assert steps[0]["kl"] == pytest.approx(0.0, abs=1e-6) and steps[-1]["kl"] > 1e-6
    with stage.serve(done) as policy:
        assert_same(greedy(policy), greedy(oracle(base, done)))


PROMPTS = [
    "Name three colours.",
    "What is the capital of France?",
    "Write a haiku about rain.",
    "Say hello in Spanish, in German and in Italian, and explain each greeting in a sentence.",
]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_real_model_says_what_transformers_says(smollm2: str, tmp_path: Path, dtype: str) -> None:
    """Greedy ids: all of them in float32; in bfloat16 up to where two tokens are all but equally likely. Log-probs of
    given tokens: within 1e-3 in float32; in bfloat16 within 0.06 on average, which is what its rounding makes of
    logits of up to 30 (steps of 1/8)."""
    model = ModelSettings(base=smollm2, dtype=dtype, tuning="full")
    settings = {"max_new_tokens": 24, "kv_cache_gib": 0.5}
    engine = engine_of(smollm2, tmp_path, model, **settings)
    theirs = HfPolicy(load_for_sampling(smollm2, BASE, model), template_of(smollm2), replace(SETTINGS, **settings))
    chats = [[{"role": "user", "content": text}] for text in PROMPTS]
    prefixes = [
        tuple(theirs.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False))
        for chat in chats
    ]
    with engine.serving(BASE) as adapter:
        mine = policy_on(engine, adapter)
        expected = greedy(theirs, prefixes)
        found = greedy(mine, prefixes)
        continuations = [row.ids for row in expected]
        scores = mine.logprob(prefixes, continuations)
    pairs = [
        pair for score, row in zip(scores, expected, strict=True) for pair in zip(score, row.logprobs, strict=True)
    ]
    gaps = [abs(left - right) for left, right in pairs]
    if dtype == "float32":
        assert_same(found, expected, tolerance=1e-3)
        assert max(gaps) < 1e-3
    else:
        assert sum(gaps) / len(gaps) < 0.06
        for left, right in zip(found, expected, strict=True):
            for at, (a, b) in enumerate(zip(left.ids, right.ids, strict=False)):
                if a != b:
                    assert left.logprobs[at] == pytest.approx(right.logprobs[at], abs=0.25), "a tie, all but"
                    break
    engine.close()
