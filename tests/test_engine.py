"""The engine against transformers itself: same tokens, same log-probs, same gradients, whatever shares the batch."""

from __future__ import annotations

import random
import weakref
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from iterft.config import LoraSettings, ModelSettings, PolicySettings
from iterft.dialects.hermes import HERMES
from iterft.engine import branch_attention, prefix_tree
from iterft.engine.attach import Budget, attach
from iterft.engine.branch_attention import find_branches, sees
from iterft.engine.decoding import Decoded, Fork, choose, decode_all, pack
from iterft.engine.generate import PrefixDecoder
from iterft.engine.head import CHUNK, token_scores
from iterft.engine.kept import size_of
from iterft.engine.low_rank import fuse_adapters
from iterft.engine.plain import PlainDecoder
from iterft.engine.prefix_tree import UNLIMITED, Counters, score_sequences
from iterft.engine.trie import build_rows, merge
from iterft.log import Log
from iterft.models import load_base, load_for_training, resolve
from iterft.policies.hf import HfPolicy
from iterft.template import Template
from iterft.types import Checkpoint, Prompt

ARCHITECTURES = pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
NO_STOP = -1
PLENTY = 1 << 30


def base_of(architecture: str) -> str:
    return resolve(ModelSettings(base=f"random:{architecture}"), Log(quiet=True))


def model_of(architecture: str = "llama") -> Any:
    """A tiny model with weights large enough that its next-token distributions differ from each other."""
    model = load_base(base_of(architecture), torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model


def decoder_of(model: Any, stop_id: int = NO_STOP, cache_bytes: int = PLENTY, max_rows: int = 64) -> PrefixDecoder:
    return PrefixDecoder(model, stop_id, cache_bytes, max_rows)


def ids_of(seed: int, length: int) -> tuple[int, ...]:
    return tuple(random.Random(seed).choices(range(3, 1900), k=length))


def plain_logprobs(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """[len(ids) - 1] log-probs of each token but the first, by one ordinary forward."""
    logits = model(torch.tensor([list(ids)])).logits[0, :-1].float()
    return logits.log_softmax(-1).gather(-1, torch.tensor(list(ids[1:]))[:, None]).squeeze(-1)


def requests_of(num_samples: int = 2) -> list[Fork]:
    """Prompts of several lengths, two of them equal, some with a turn that has begun."""
    prompts = [ids_of(1, 30), ids_of(2, 7), ids_of(3, 30), ids_of(1, 30), ids_of(4, 2), ids_of(5, 61)]
    extras = [(), ids_of(6, 5), ids_of(7, 1), ids_of(8, 9), (), ids_of(9, 3)]
    return [
        Fork(prompt, extra, num_samples, seed) for seed, (prompt, extra) in enumerate(zip(prompts, extras, strict=True))
    ]


@ARCHITECTURES
def test_greedy_decoding_is_that_of_transformers(architecture: str) -> None:
    model = model_of(architecture)
    requests = requests_of(1)
    for request, (row,) in zip(requests, decode_all(decoder_of(model).stream, requests, 0.0, 70), strict=True):
        ids = torch.tensor([[*request.prompt, *request.extra]])
        expected = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=70,
            min_new_tokens=70,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert row.ids == tuple(expected[0, ids.shape[1] :].tolist())


@ARCHITECTURES
def test_log_probs_of_what_is_sampled_are_those_of_a_plain_forward(architecture: str) -> None:
    model = model_of(architecture)
    requests = requests_of()
    for request, rows in zip(requests, decode_all(decoder_of(model).stream, requests, 1.3, 8), strict=True):
        for row in rows:
            with torch.no_grad():
                expected = plain_logprobs(model, [*request.prompt, *request.extra, *row.ids])[-len(row.ids) :]
            assert row.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


@ARCHITECTURES
def test_one_at_a_time_gives_what_all_together_give(architecture: str) -> None:
    model = model_of(architecture)
    requests = requests_of(3)
    together = decode_all(decoder_of(model).stream, requests, 1.0, 10)
    for alone_of in (
        lambda request: decode_all(decoder_of(model).stream, [request], 1.0, 10),
        lambda request: decode_all(decoder_of(model, max_rows=2).stream, [*requests_of(1)[:2], request], 1.0, 10)[-1:],
    ):
        for request, rows in zip(requests, together, strict=True):
            (alone,) = alone_of(request)
            assert [row.ids for row in alone] == [row.ids for row in rows]
            for one, other in zip(alone, rows, strict=True):
                assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_samples_of_a_prefix_differ_and_depend_on_its_seed_alone() -> None:
    model = model_of()
    prompt = ids_of(1, 20)
    (rows,) = decode_all(decoder_of(model).stream, [Fork(prompt, (), 4, 5)], 1.0, 10)
    assert len({row.ids for row in rows}) == 4
    (fewer,) = decode_all(decoder_of(model).stream, [Fork(prompt, (), 2, 5)], 1.0, 10)
    assert [row.ids for row in fewer] == [row.ids for row in rows[:2]]
    (others,) = decode_all(decoder_of(model).stream, [Fork(prompt, (), 4, 6)], 1.0, 10)
    assert {row.ids for row in others}.isdisjoint({row.ids for row in rows})


def test_what_is_written_already_may_stand_in_the_prompt_or_behind_it() -> None:
    model = model_of()
    whole = ids_of(1, 24)
    (inside,) = decode_all(decoder_of(model).stream, [Fork(whole, (), 2, 0)], 1.0, 8)
    (behind,) = decode_all(decoder_of(model).stream, [Fork(whole[:15], whole[15:], 2, 0)], 1.0, 8)
    assert [row.ids for row in inside] == [row.ids for row in behind]


@ARCHITECTURES
def test_logprob_is_that_of_a_plain_forward(architecture: str) -> None:
    model = model_of(architecture)
    prompts = [ids_of(1, 30), ids_of(2, 2), ids_of(1, 30), ids_of(3, 41)]
    continuations = [ids_of(4, 6), ids_of(5, 11), ids_of(6, 1), ids_of(7, 3)]
    scores = decoder_of(model, max_rows=3).logprob(prompts, continuations)
    for prompt, continuation, score in zip(prompts, continuations, scores, strict=True):
        with torch.no_grad():
            expected = plain_logprobs(model, prompt + continuation)[-len(continuation) :]
        assert score == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_cache_too_small_for_anything_changes_no_result() -> None:
    model = model_of()
    plenty, tiny = decoder_of(model), decoder_of(model, cache_bytes=1)
    assert [[row.ids for row in rows] for rows in decode_all(tiny.stream, requests_of(), 1.0, 6)] == [
        [row.ids for row in rows] for rows in decode_all(plenty.stream, requests_of(), 1.0, 6)
    ]
    assert (len(tiny.kept.entries), tiny.kept.num_bytes) == (0, 0)


def test_the_cache_drops_what_was_not_used_for_longest() -> None:
    model = model_of()
    first, second, third = (ids_of(seed, 11) for seed in range(3))
    probe = decoder_of(model)
    probe.logprob([first], [(5,)])
    decoder = decoder_of(model, cache_bytes=2 * probe.kept.num_bytes)
    for prompt in (first, second, first, third):
        decoder.logprob([prompt], [(5,)])
    assert [prompt for prompt, _ in decoder.kept.entries] == [first, third]
    assert decoder.kept.num_bytes == 2 * probe.kept.num_bytes


def test_turns_grow_on_from_inside_each_other_without_computing_anything_again() -> None:
    """Forks from inside turns that were written before, in one stream and of several depths, give what a decoder that
    keeps nothing gives; each feeds one token."""
    model = model_of()
    decoder, queue = decoder_of(model, max_rows=5), deque(requests_of(2))
    roots = list(queue)
    grown: list[tuple[Fork, list[Decoded]]] = []
    for fork, rows in decoder.stream(queue, 1.0, 8):
        if fork in roots:
            queue += [Fork(fork.prompt, (*fork.extra, *rows[0].ids[:cut]), 2, cut) for cut in (1, 4, 8)]
        else:
            grown.append((fork, rows))
    assert len(grown) == 3 * len(roots)
    assert 0 < decoder.counters.refed <= 2 * sum(len(fork.extra) for fork in roots), "what stood there at the start"
    for fork, rows in grown:
        (fresh,) = decode_all(decoder_of(model).stream, [replace(fork)], 1.0, 8)
        assert [row.ids for row in rows] == [row.ids for row in fresh]
        for row, other in zip(rows, fresh, strict=True):
            assert row.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_what_was_written_goes_before_its_prompt_and_is_counted() -> None:
    model = model_of()
    decoder = decoder_of(model)
    decode_all(decoder.stream, [Fork(ids_of(1, 20), (), 2, 0), Fork(ids_of(2, 20), (), 1, 0)], 1.0, 5)
    prompt_bytes, turn_bytes = 19 * decoder.token_bytes, 5 * decoder.token_bytes
    assert decoder.kept.num_bytes == 2 * prompt_bytes + 3 * turn_bytes
    decoder.kept.max_bytes = 2 * prompt_bytes + 2 * turn_bytes
    (rows,) = decode_all(decoder.stream, [Fork(ids_of(1, 20), (), 1, 0)], 1.0, 5)
    assert decoder.kept.num_bytes == 2 * prompt_bytes + 2 * turn_bytes
    decoder.kept.max_bytes = prompt_bytes
    decode_all(decoder.stream, [Fork(ids_of(1, 20), (), 1, 0)], 1.0, 5)
    assert list(decoder.kept.entries) == [(ids_of(1, 20), ())]
    decode_all(decoder.stream, [Fork(ids_of(1, 20), rows[0].ids, 1, 0)], 1.0, 5)
    assert decoder.counters.refed == 5, "it was dropped"


def test_a_stream_that_is_left_early_leaves_nothing_behind() -> None:
    decoder = decoder_of(model_of(), max_rows=2)
    stream = decoder.stream(deque(requests_of(1)), 1.0, 6)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    expected = decode_all(decoder_of(model_of()).stream, requests_of(1), 1.0, 6)
    again = decode_all(decoder.stream, requests_of(1), 1.0, 6)
    assert [[row.ids for row in rows] for rows in again] == [[row.ids for row in rows] for rows in expected]


def test_counters_tell_what_was_computed() -> None:
    decoder = decoder_of(model_of())
    decode_all(decoder.stream, requests_of(2), 1.0, 6)
    assert decoder.counters.misses == 5, "two of the six prompts are the same"
    assert decoder.counters.hits == 7, "of twelve rows"
    assert decoder.counters.prefilled == 29 + 6 + 29 + 1 + 60
    assert decoder.counters.sampled == 6 * 2 * 6
    decode_all(decoder.stream, requests_of(2), 1.0, 6)
    assert (decoder.counters.misses, decoder.counters.hits) == (5, 19)
    assert decoder.counters.prefilled == 125


def test_prompts_that_share_their_beginning_are_prefilled_together() -> None:
    model, shared = model_of(), ids_of(1, 40)
    prompts = [(*shared, *ids_of(seed, 9)) for seed in (2, 3, 4)]
    decoder = decoder_of(model)
    together = decode_all(decoder.stream, [Fork(prompt, (), 2, 5) for prompt in prompts], 1.0, 8)
    assert decoder.counters.prefilled == 40 + 3 * 8, "the last token of a prompt is fed with its rows"
    for prompt, rows in zip(prompts, together, strict=True):
        (alone,) = decode_all(decoder_of(model).stream, [Fork(prompt, (), 2, 5)], 1.0, 8)
        assert [row.ids for row in rows] == [row.ids for row in alone]
        for one, other in zip(rows, alone, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_prompts_that_share_their_beginning_meet_in_a_wave_whatever_their_length() -> None:
    """Lengths interleave, and a wave has room for one group: what it shares is computed once all the same. The log-prob
    of a turn (two tokens, of which the first is fed) leaves its prompt's KV behind."""
    first, second = ids_of(1, 40), ids_of(2, 40)
    prompts = [(*shared, *ids_of(seed, 2 + seed)) for seed in range(3, 6) for shared in (first, second)]
    decoder = decoder_of(model_of(), max_rows=3)
    decode_all(decoder.stream, [Fork(prompt, (), 1, 5) for prompt in prompts], 1.0, 4)
    assert decoder.counters.prefilled == 2 * (40 + 4 + 5 + 6)
    decoder.forget()
    decoder.logprob(prompts, [(5, 6)] * len(prompts))
    assert decoder.counters.prefilled == 4 * (40 + 4 + 5 + 6) + 2 * len(prompts)
    misses = decoder.counters.misses
    decode_all(decoder.stream, [Fork(prompt, (), 1, 5) for prompt in prompts], 1.0, 4)
    assert decoder.counters.misses == misses


def test_other_stops_end_rows_too() -> None:
    model, requests = model_of(), requests_of(3)
    free = decode_all(decoder_of(model).stream, requests, 1.0, 12)
    stop_id, other = free[0][0].ids[3], free[1][0].ids[5]
    for decoder in (
        PrefixDecoder(model, stop_id, PLENTY, 64, [other]),
        PlainDecoder(model, stop_id, 64, [other]),
    ):
        for before, after in zip(free, decode_all(decoder.stream, requests, 1.0, 12), strict=True):
            for one, cut in zip(before, after, strict=True):
                ends = [at for at, token in enumerate(one.ids, start=1) if token in (stop_id, other)]
                assert cut.ids == one.ids[: ends[0] if ends else None] and cut.stopped == bool(ends)


def test_rows_enter_as_others_end() -> None:
    """A stop token makes rows end at different lengths; with room for four, others take their places and nothing else
    changes."""
    model = model_of()
    requests = [replace(request, seed=seed) for seed in range(6) for request in requests_of(3)]
    free = decode_all(decoder_of(model).stream, requests, 0.2, 30)
    stop_id = Counter(token for rows in free for row in rows for token in row.ids).most_common(1)[0][0]
    whole = decode_all(decoder_of(model, stop_id, max_rows=1000).stream, requests, 0.2, 30)
    few = decoder_of(model, stop_id, max_rows=8)
    feeds = []
    own_feed = few.feed

    def counting(wave: Any, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        feeds.append(len(tokens))
        return own_feed(wave, tokens, positions)

    few.feed = counting  # type: ignore[method-assign]
    refilled = decode_all(few.stream, requests, 0.2, 30)
    lengths = [len(row.ids) for rows in whole for row in rows]
    assert min(lengths) < max(lengths)
    assert max(feeds) <= 8
    assert len(feeds) < sum(max(lengths[at : at + 8]) for at in range(0, len(lengths), 8)), "no waiting for the longest"
    pairs = [pair for one, other in zip(whole, refilled, strict=True) for pair in zip(one, other, strict=True)]
    assert sum(first.ids == second.ids for first, second in pairs) > 0.95 * len(pairs), "a draw may fall on an edge"
    for first, second in pairs:
        same = next((at for at, ids in enumerate(zip(first.ids, second.ids, strict=False)) if len({*ids}) > 1), None)
        assert first.logprobs[:same] == pytest.approx(second.logprobs[:same], abs=1e-4)


def test_the_kv_of_a_model_without_grouped_heads_is_counted_too() -> None:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    model = GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=2000, **sizes))
    assert decoder_of(model).token_bytes == 2 * 3 * 32 * 4


def test_a_prefix_is_told_from_what_was_written_behind_it_however_long_that_is(tokenizer: Any) -> None:
    policy = HfPolicy(model_of(), Template(tokenizer, HERMES), PolicySettings(max_new_tokens=4))
    short, long = (
        policy.render(Prompt(({"role": "user", "content": text},), ())) for text in ("Hi", "Hi, what a day!")
    )
    written = ids_of(3, 30)
    assert policy.split((*long, *written)) == (long, written)
    assert policy.split((*short, *written)) == (short, written) and policy.split(short) == (short, ())
    assert policy.split(written) == (written, ())


def test_prompts_in_flight_fit_the_cache_and_rows_that_have_ended_hold_none() -> None:
    """Ten prompts of 40 tokens, room for the KV of three: never more are in flight, one of 80 does not go beside one of
    40, as both would be padded to 80, one above all room goes alone, and the outcome is that of plenty of room."""
    model = model_of()
    requests = [Fork(ids_of(seed, 40), (), 2, seed) for seed in range(10)]
    requests += [Fork(ids_of(10, 80), (), 2, 10), Fork(ids_of(11, 150), (), 2, 11)]
    decoder = decoder_of(model)
    decoder.kept.max_bytes = 130 * decoder.token_bytes
    waves: list[list[Any]] = []
    own_room = decoder.make_room

    def watched(old: Any, live: Sequence[Any], fresh: Sequence[Any]) -> Any:
        waves.append([*live, *fresh])
        return own_room(old, live, fresh)

    decoder.make_room = watched  # type: ignore[method-assign]
    decoded = decode_all(decoder.stream, requests, 1.0, 5)
    prompts = [{row.fork.prompt for row in wave} for wave in waves]
    sizes = [len(members) * max(map(len, members)) for members in prompts]
    assert sorted(set(sizes)) == [40, 80, 120, 150]
    assert all(row.kv == [] for wave in waves for row in wave)
    assert decoder.kept.num_bytes <= decoder.kept.max_bytes
    kept = decoder_of(model)
    assert [[row.ids for row in rows] for rows in decode_all(kept.stream, requests, 1.0, 5)] == [
        [row.ids for row in rows] for rows in decoded
    ]
    prompt = requests[0].prompt
    assert size_of(kept.kept.of_prompt(prompt)) == (len(prompt) - 1) * kept.token_bytes


def test_a_wave_of_which_all_rows_have_ended_is_gone_before_the_next_is_opened() -> None:
    decoder = decoder_of(model_of(), max_rows=2)
    opened: list[weakref.ref[Any]] = []
    num_held: list[int] = []
    own_room = decoder.make_room

    def watched(old: Any, live: Sequence[Any], fresh: Sequence[Any]) -> Any:
        if not live:
            num_held.append(sum(wave() is not None for wave in opened))
        wave = own_room(old, live, fresh)
        opened.append(weakref.ref(wave))
        return wave

    decoder.make_room = watched  # type: ignore[method-assign]
    decode_all(decoder.stream, [Fork(ids_of(seed, 20), (), 2, seed) for seed in range(4)], 1.0, 5)
    assert num_held == [0, 0, 0, 0]


def test_progress_adds_up_to_the_requests() -> None:
    done: list[int] = []
    decode_all(decoder_of(model_of(), max_rows=4).stream, requests_of(2), 1.0, 2, done.append)
    assert sum(done) == 6


def test_a_row_ends_with_its_stop_token_and_the_others_go_on() -> None:
    model = model_of()
    requests = requests_of(2)
    free = decode_all(decoder_of(model).stream, requests, 1.0, 12)
    stop_id = free[1][0].ids[4]
    for before, after in zip(free, decode_all(decoder_of(model, stop_id).stream, requests, 1.0, 12), strict=True):
        for one, other in zip(before, after, strict=True):
            stop = one.ids.index(stop_id) + 1 if stop_id in one.ids else len(one.ids)
            assert other.ids == one.ids[:stop]
            assert other.stopped == (stop_id in one.ids)
            assert other.logprobs == pytest.approx(one.logprobs[:stop], abs=1e-4)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
def test_tokens_come_as_often_as_their_probability_says(temperature: float) -> None:
    """Chi-square over 30 tokens and 20,000 draws: 99.9 % of fair samplers stay below 59."""
    logits = torch.randn(30, generator=torch.Generator().manual_seed(0)) * 1.5
    draws = torch.from_numpy(np.random.default_rng(0).random(20_000))
    counts = Counter(choose(logits.expand(20_000, -1), temperature, draws).tolist())
    expected = (logits / temperature).softmax(-1) * 20_000
    assert sum((counts[token] - mean) ** 2 / mean for token, mean in enumerate(expected.tolist())) < 59


def test_draws_at_the_edges_give_tokens_that_exist() -> None:
    logits = torch.tensor([[0.0, 0.0, -1e9]])
    assert choose(logits, 1.0, torch.tensor([1.0 - 1e-12], dtype=torch.float64)).item() in (0, 1)
    assert choose(logits, 1.0, torch.tensor([0.0], dtype=torch.float64)).item() == 0


def test_long_prompts_that_share_their_beginning_are_prefilled_in_one_forward() -> None:
    model = model_of()
    trunk = tuple(torch.randint(3, 200, (900,), generator=torch.Generator().manual_seed(0)).tolist())
    prompts = [(*trunk, *range(10 + at, 40 + at)) for at in range(6)]
    decoder = PrefixDecoder(model, 2, 1 << 30, 8)
    decoder.logprob(prompts, [(5, 6)] * 6)
    assert sum(map(len, prompts)) > 4096 >= decoder.counters.prefilled
    assert decoder.counters.prefilled == 900 + 6 * (30 + 1)


def test_pack_keeps_order_and_capacity() -> None:
    assert pack([3, 1, 2, 9, 1], lambda size: size, 4) == [[3, 1], [2], [9], [1]]
    assert pack([], lambda size: 1, 4) == []


def sequences_of() -> tuple[list[list[int]], list[list[int]]]:
    """Pairs that share their prompt, a prefix of another, a repeated one, and one of its own; wanted positions."""
    first, second = list(ids_of(1, 40)), list(ids_of(2, 25))
    sequences = [
        [*first, *ids_of(3, 8)],
        [*second, *ids_of(4, 3)],
        [*first, *ids_of(5, 11)],
        [*first, *ids_of(3, 8)],
        list(ids_of(6, 9)),
        [*first, *ids_of(3, 4)],
        [*second, *ids_of(7, 9)],
    ]
    wanted = [list(range(40, len(row))) if row[:40] == first else list(range(5, len(row))) for row in sequences]
    wanted[4] = [1, 8]
    return sequences, wanted


@ARCHITECTURES
@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_shared_prefixes_change_neither_scores_nor_gradients(architecture: str, adapter: bool) -> None:
    model = model_of(architecture)
    if adapter:
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(0)
        lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
        model = get_peft_model(model, lora)
    causal = model.get_base_model() if adapter else model
    sequences, wanted = sequences_of()
    weights = torch.randn(sum(map(len, wanted)), generator=torch.Generator().manual_seed(0))

    counters = Counters()
    scores = score_sequences(causal.base_model, causal.get_output_embeddings(), sequences, wanted, counters)
    ours = torch.cat([score.log_probs for score in scores])
    plain = torch.cat(
        [
            plain_logprobs(causal, row)[torch.tensor(positions) - 1]
            for row, positions in zip(sequences, wanted, strict=True)
        ]
    )
    torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-5)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(parameters) >= (28 if adapter else 15)
    for mine, theirs in zip(
        torch.autograd.grad((ours * weights).sum(), parameters),
        torch.autograd.grad((plain * weights).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-3 * max(1.0, theirs.abs().max().item()), rtol=1e-3)
    assert counters.sequence_tokens == sum(map(len, sequences))
    assert counters.unique_tokens == 40 + 8 + 11 + 25 + 3 + 9 + 9
    assert counters.head_positions == sum(map(len, wanted))


@ARCHITECTURES
def test_prefixes_are_shared_under_autocast(architecture: str) -> None:
    model = model_of(architecture)
    sequences, wanted = sequences_of()
    head, exact = model.get_output_embeddings(), []
    with torch.no_grad():
        for score in score_sequences(model.base_model, head, sequences, wanted, Counters()):
            exact.append(score.log_probs)
    with torch.autocast("cpu", torch.bfloat16):
        scores = score_sequences(model.base_model, head, sequences, wanted, Counters())
        rounded = torch.cat([score.log_probs for score in scores])
    assert rounded.dtype == torch.float32
    assert (rounded - torch.cat(exact)).square().mean().sqrt() < 0.1
    gradients = torch.autograd.grad(rounded.sum(), [*model.parameters()])
    assert all(part.isfinite().all() for part in gradients)


@ARCHITECTURES
def test_sequences_that_share_nothing_are_scored_like_any(architecture: str) -> None:
    """Then no row branches, and the forward takes its plain causal path over padded rows."""
    model = model_of(architecture)
    sequences = [list(ids_of(seed, 3 + 9 * seed)) for seed in range(4)]
    wanted = [list(range(1, len(row))) for row in sequences]
    with torch.no_grad():
        scores = score_sequences(model.base_model, model.get_output_embeddings(), sequences, wanted, Counters())
        for score, row in zip(scores, sequences, strict=True):
            torch.testing.assert_close(score.log_probs, plain_logprobs(model, row), atol=1e-4, rtol=1e-5)


def test_siblings_above_the_budget_are_split_and_what_they_share_is_repeated() -> None:
    trunk = list(range(200))
    siblings = [[*trunk, 300 + at, *range(20)] for at in range(16)]
    (whole,) = build_rows(siblings)
    assert len(whole.ids) == 200 + 16 * 21
    rows = build_rows(siblings, max_tokens=300)
    assert [len(row.members) for row in rows] == [4, 4, 4, 4]
    assert all(len(row.ids) == 200 + 4 * 21 for row in rows)
    assert sorted(member for row in rows for member in row.members) == [*range(16)]
    assert [len(row.members) for row in build_rows(siblings, max_tokens=1)] == [1] * 16


def test_every_sequence_is_a_path_of_its_row() -> None:
    sequences, _ = sequences_of()
    rows = build_rows(sequences)
    assert sorted(member for row in rows for member in row.members) == list(range(len(sequences)))
    for row in rows:
        for member, path in zip(row.members, row.paths, strict=True):
            assert row.ids[path].tolist() == sequences[member]
            assert row.depths[path].tolist() == list(range(len(path)))
            for node in path:
                assert set(np.flatnonzero(sees(row.stops)[node])) == {other for other in path if other <= node}


def test_entropy_mean_and_rank_are_those_of_the_logits() -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(CHUNK + 7, 8), torch.nn.Linear(8, 50)
    targets = torch.randint(50, (CHUNK + 7,))
    scores = token_scores(hidden, head, targets)
    logits = head(hidden)
    torch.testing.assert_close(scores.log_probs, logits.log_softmax(-1).gather(-1, targets[:, None]).squeeze(-1))
    torch.testing.assert_close(scores.entropy, torch.distributions.Categorical(logits=logits).entropy())
    torch.testing.assert_close(scores.mean_logits, logits.mean(-1))
    assert torch.equal(scores.is_top1, logits.argmax(-1) == targets)


def test_a_frozen_head_gives_the_gradient_of_a_plain_one() -> None:
    torch.manual_seed(0)
    head, targets = torch.nn.Linear(8, 50, bias=False), torch.randint(50, (CHUNK + 7,))
    weights = torch.randn(len(targets))
    gradients = []
    for trained in (True, False):
        hidden = torch.randn(len(targets), 8, generator=torch.Generator().manual_seed(1), requires_grad=True)
        head.weight.requires_grad_(trained)
        gradients.extend(torch.autograd.grad((token_scores(hidden, head, targets).log_probs * weights).sum(), hidden))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("trained", [True, False])
def test_entropies_have_a_gradient(trained: bool) -> None:
    torch.manual_seed(0)
    head, targets = torch.nn.Linear(8, 50, bias=False), torch.randint(50, (CHUNK + 7,))
    head.weight.requires_grad_(trained)
    hidden = torch.randn(len(targets), 8).requires_grad_()
    weights = torch.randn(2, len(targets))
    scores = token_scores(hidden, head, targets)
    ours = (scores.log_probs * weights[0] + scores.entropy * weights[1]).sum()
    log_probs = head(hidden).log_softmax(dim=-1)
    plain = log_probs.gather(-1, targets[:, None]).squeeze(-1) * weights[0]
    plain = (plain - (log_probs.exp() * log_probs).sum(dim=-1) * weights[1]).sum()
    inputs = [hidden, *([head.weight] if trained else [])]
    for mine, theirs in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(plain, inputs), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)
    (alone,) = torch.autograd.grad(token_scores(hidden, head, targets).entropy.sum(), hidden)
    assert alone.abs().sum() > 0


def test_a_frozen_head_in_bfloat16_keeps_the_gradient_of_a_confident_token() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(64, 500, bias=False).requires_grad_(False)
    targets = torch.arange(20)
    exact = (head.weight[targets] * 60).requires_grad_()  # points at its target
    rounded = exact.detach().bfloat16().requires_grad_()
    scores = token_scores(exact, head, targets).log_probs
    assert (scores.exp() > 0.9).all() and (scores.exp() < 0.9999).any()
    (true,) = torch.autograd.grad(scores.sum(), exact)
    (ours,) = torch.autograd.grad(token_scores(rounded, head.bfloat16(), targets).log_probs.sum(), rounded)
    assert ((ours.float() - true).norm(dim=1) < 0.2 * true.norm(dim=1)).float().mean() > 0.9


def test_scores_in_bfloat16_are_the_same_with_a_gradient_and_without() -> None:
    """Else the importance ratio of an unchanged policy would not be 1."""
    torch.manual_seed(0)
    head = torch.nn.Linear(32, 500, bias=False).bfloat16().requires_grad_(False)
    hidden = (8 * torch.randn(100, 32)).bfloat16().requires_grad_()
    targets = torch.randint(500, (100,))
    learnt = token_scores(hidden, head, targets, 0.7)
    with torch.no_grad():
        looked = token_scores(hidden, head, targets, 0.7)
    assert torch.equal(learnt.log_probs, looked.log_probs) and torch.equal(learnt.entropy, looked.entropy)


def adapted_linear(dropout: float = 0.0) -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    lora = LoraConfig(r=4, lora_alpha=12, lora_dropout=dropout, target_modules=["0"], init_lora_weights=False)
    return get_peft_model(torch.nn.Sequential(torch.nn.Linear(8, 6)), lora)


def outputs_and_gradients(model: Any, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    inputs = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_()
    torch.manual_seed(2)
    outputs = model(inputs)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [outputs, *torch.autograd.grad(outputs.square().sum(), [inputs, *trained])]


def test_a_fused_adapter_computes_what_pefts_layer_does() -> None:
    plain, fused = outputs_and_gradients(adapted_linear()), adapted_linear()
    assert fuse_adapters(fused) == 1
    mine = outputs_and_gradients(fused)
    assert "LowRankProduct" in str(mine[0].grad_fn.next_functions[0][0])  # below the reshape: the one operation ran
    assert len(plain) == len(mine) == 4
    for theirs, ours in zip(plain, mine, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_fused_adapter_beside_a_bfloat16_base_keeps_its_own_gradients_in_float32() -> None:
    exact = outputs_and_gradients(adapted_linear())
    fused = adapted_linear()
    fused.base_model.model[0].base_layer.to(torch.bfloat16)
    fuse_adapters(fused)
    mine = outputs_and_gradients(fused, torch.bfloat16)
    assert "LowRankProduct" in str(mine[0].grad_fn.next_functions[0][0])
    assert [part.dtype for part in mine] == [torch.bfloat16, torch.bfloat16, torch.float32, torch.float32]
    for theirs, ours in zip(exact, mine, strict=True):
        assert (ours.float() - theirs).norm() < 0.02 * theirs.norm()


def test_under_autocast_adapters_are_left_to_peft() -> None:
    results = []
    for fuse in (False, True):
        model = adapted_linear()
        if fuse:
            fuse_adapters(model)
        with torch.autocast("cpu", torch.bfloat16):
            results.append(model(torch.ones(3, 8)))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("state", ["dropout", "merged", "disabled"])
def test_a_fused_adapter_leaves_to_peft_what_it_does_not_do(state: str) -> None:
    results = []
    for fuse in (False, True):
        model = adapted_linear(0.5 if state == "dropout" else 0.0)
        if fuse:
            fuse_adapters(model)
        if state == "merged":
            model.merge_adapter()
        inputs = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
        torch.manual_seed(2)
        with model.disable_adapter() if state == "disabled" else nullcontext():
            results.append(model(inputs))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("padding", [0, 3])
def test_the_attached_forward_gives_what_trl_would_compute(padding: int) -> None:
    from trl.trainer.utils import add_fused_lm_head

    sequences, wanted = sequences_of()
    width = max(map(len, sequences)) + padding
    input_ids, mask, labels = (torch.full((len(sequences), width), fill) for fill in (0, 0, -100))
    for at, (row, positions) in enumerate(zip(sequences, wanted, strict=True)):
        input_ids[at, : len(row)], mask[at, : len(row)] = torch.tensor(row), 1
        labels[at, positions] = torch.tensor(row)[positions]
    model = model_of()
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    batch = {"input_ids": input_ids, "attention_mask": mask, "labels": labels, "fused_lm_head": True}
    with torch.no_grad():
        stock = model(**batch, use_cache=False)
        stock_share = model(**batch, use_cache=False, num_items_in_batch=100).loss
        attach(model, Counters(), Budget(UNLIMITED))
        ours = model(**batch, use_cache=False)
        torch.testing.assert_close(model(**batch, use_cache=False, num_items_in_batch=100).loss, stock_share)
    for name in ("loss", "log_probs", "entropy", "mean_logits"):
        theirs = getattr(stock, name)
        if theirs.dim() == 2:
            theirs = theirs * stock.label_mask
        torch.testing.assert_close(getattr(ours, name), theirs, atol=1e-4, rtol=1e-4)
    assert torch.equal(ours.label_mask, stock.label_mask.bool())
    assert torch.equal(ours.is_top1, stock.is_top1.bool() & stock.label_mask.bool())
    assert not hasattr(model(input_ids=input_ids), "log_probs"), "other forwards stay as they were"


def test_a_new_adapter_depends_on_its_seed_alone() -> None:
    settings = ModelSettings(base="random:llama", lora=LoraSettings(r=2))

    def adapter(seed: int) -> dict[str, torch.Tensor]:
        model = load_for_training(base_of("llama"), Checkpoint(None), settings, seed)
        return {name: value for name, value in model.state_dict().items() if "lora_A" in name}

    first, again, other = adapter(0), adapter(0), adapter(1)
    assert first and all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_branches_of_a_trie_hold_every_token_behind_the_trunk_once() -> None:
    trunk = list(range(100, 140))
    sequences = [[*trunk, 1, 2, 3], [*trunk, 1, 2, 4], [*trunk, 5], [*trunk, 6, 7]]
    (row,) = build_rows(sequences)
    branches = find_branches(row.stops, torch.device("cpu"))
    assert branches is not None
    assert branches.sizes == [len(trunk), 4, 1, 2]  # 1 2 {3, 4} | 5 | 6 7
    assert sum(branches.sizes) == len(row.ids)
    last_of_the_first = branches.hidden[0][3]  # 4 sees 1, 2 and itself, not its sibling 3
    assert last_of_the_first.tolist() == [False, False, True, False]


def test_a_chain_has_no_branches() -> None:
    (row,) = build_rows([[1, 2, 3, 4], [1, 2, 3]])
    assert find_branches(row.stops, torch.device("cpu")) is None


def test_several_tries_end_to_end_see_nothing_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on CUDA, where one row under FlexAttention holds them all; its CPU form has no backward pass."""
    from torch.nn.attention.flex_attention import flex_attention as uncompiled

    model = model_of("qwen3")
    sequences, wanted = sequences_of()
    monkeypatch.setattr(prefix_tree, "uses_flex", lambda backbone: True)
    monkeypatch.setattr(branch_attention, "compiled_flex_attention", lambda: uncompiled)
    counters = Counters()
    with torch.no_grad():
        scores = score_sequences(model.base_model, model.get_output_embeddings(), sequences, wanted, counters)
        for score, row, positions in zip(scores, sequences, wanted, strict=True):
            expected = plain_logprobs(model, row)[torch.tensor(positions) - 1]
            torch.testing.assert_close(score.log_probs, expected, atol=1e-4, rtol=1e-5)
    assert counters.unique_tokens == 105


def test_the_block_mask_is_that_of_its_rule() -> None:
    from torch.nn.attention.flex_attention import create_block_mask

    trunk = list(range(300))
    rows = build_rows([[*trunk, 1000 + at, *range(at, at + 90)] for at in range(4)] + [[*range(2000, 2130)]])
    row = merge(rows)
    assert len(row.ids) == 300 + 4 * 91 + 130
    _, _, mask = branch_attention.tree_mask(row, torch.device("cpu"))
    stops = torch.arange(-(-len(row.ids) // 128) * 128) + 1
    stops[: len(row.ids)] = torch.from_numpy(row.stops)
    expected = create_block_mask(
        lambda b, h, q, k: (k <= q) & (q < stops[k]), None, None, *mask.shape[-2:], device="cpu"
    )
    assert torch.equal(mask.to_dense(), expected.to_dense())
    for theirs, ours in (
        (expected.kv_num_blocks, mask.kv_num_blocks),
        (expected.full_kv_num_blocks, mask.full_kv_num_blocks),
    ):
        assert torch.equal(ours, theirs)
    assert mask.full_kv_num_blocks.sum() > 4


def test_what_does_not_fit_the_budget_is_computed_again_with_the_same_gradients() -> None:
    model = model_of()
    sequences, wanted = sequences_of()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    results = []
    for max_tokens in (UNLIMITED, 40, 1):
        counters = Counters()
        scores = score_sequences(
            model.base_model, model.get_output_embeddings(), sequences, wanted, counters, max_tokens
        )
        total = torch.cat([score.log_probs for score in scores]).sum()
        results.append((counters.computed_again, counters.unique_tokens, total, torch.autograd.grad(total, parameters)))
    (_, whole, *_), (some, *_), (most, alone, *_) = results
    assert results[0][0] == 0 < some <= most
    assert whole == 105 and alone == sum(map(len, sequences)), "a trie above the budget is split, down to its sequences"
    for _, _, total, gradients in results[1:]:
        torch.testing.assert_close(total, results[0][2])
        for mine, theirs in zip(gradients, results[0][3], strict=True):
            torch.testing.assert_close(mine, theirs)
