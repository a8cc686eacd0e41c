"""Decoding under a grammar: only what it allows is drawn, other rows and all log-probs stay as they are without one."""

from __future__ import annotations

import importlib.util
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_engine import decoder_of, ids_of, model_of, plain_logprobs
from test_loop import lines_of, run_of, small_recipe
from toys import ONE, call

from iterft import Iterator
from iterft.build import DIALECTS
from iterft.chat import Dialect
from iterft.config import PolicySettings
from iterft.dialects.hermes import HERMES
from iterft.engine.constrained import Grammars, allowed_logits, back_inside
from iterft.engine.decoding import Fork, decode_all
from iterft.engine.plain import PlainDecoder
from iterft.loop import main
from iterft.policies.hf import HfPolicy
from iterft.rollout import read_text
from iterft.template import Template
from iterft.types import Checkpoint, Prompt, Request

NO_XGRAMMAR = importlib.util.find_spec("xgrammar") is None
needs_xgrammar = pytest.mark.skipif(NO_XGRAMMAR, reason="xgrammar is not installed (the extra grammar)")
WORDS = 'root ::= "yes" | "no" ("no" | [0-9])*'


def tokens(matcher: Any, num_tokens: int) -> set[int]:
    """What the grammar lets come next."""
    return set((allowed_logits(torch.zeros(1, num_tokens), [matcher])[0] == 0).nonzero().flatten().tolist())


@pytest.fixture(scope="module")
def grammars(tokenizer: Any) -> Grammars:
    return Grammars(tokenizer, len(tokenizer), tokenizer.eos_token_id)


def mixed(grammars: Grammars) -> list[Fork]:
    """Rows with a grammar and rows without, some with a turn that has begun."""
    opened = grammars.matcher(WORDS, ())
    free = [Fork(ids_of(seed, 9 + seed), ids_of(seed + 40, seed), 2, seed) for seed in range(3)]
    bound = [Fork(ids_of(seed, 12), (), 3, seed, None, opened) for seed in range(3, 6)]
    return [free[0], bound[0], free[1], bound[1], free[2], bound[2]]


def decoders(model: Any, stop_id: int) -> list[Callable[..., Any]]:
    return [decoder_of(model, stop_id).stream, PlainDecoder(model, stop_id, 64).stream]


@needs_xgrammar
@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
def test_rows_with_a_grammar_keep_to_it_and_the_others_are_as_they_were(
    grammars: Grammars, tokenizer: Any, temperature: float
) -> None:
    model = model_of()
    for stream in decoders(model, tokenizer.eos_token_id):
        forks = mixed(grammars)
        together = decode_all(stream, forks, temperature, 12)
        for fork, rows in zip(forks, together, strict=True):
            (alone,) = decode_all(stream, [fork], temperature, 12)
            assert [row.ids for row in alone] == [row.ids for row in rows]
            for row in rows:
                if fork.matcher is not None:
                    grammars.matcher(WORDS, row.ids)  # raises on what it does not allow
                    assert row.stopped or len(row.ids) == 12
        (without,) = decode_all(stream, [replace(forks[1], matcher=None)], temperature, 12)
        assert {row.ids for row in without}.isdisjoint(row.ids for row in together[1])


@needs_xgrammar
def test_log_probs_are_those_among_all_tokens(grammars: Grammars, tokenizer: Any) -> None:
    model = model_of()
    for stream in decoders(model, tokenizer.eos_token_id):
        forks = mixed(grammars)
        for fork, rows in zip(forks, decode_all(stream, forks, 0.7, 8), strict=True):
            for row in rows:
                with torch.no_grad():
                    expected = plain_logprobs(model, [*fork.prompt, *fork.extra, *row.ids])[-len(row.ids) :]
                assert row.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


@needs_xgrammar
def test_what_is_allowed_is_drawn_by_its_share_among_what_is_allowed(grammars: Grammars, tokenizer: Any) -> None:
    model, prompt = model_of(), ids_of(1, 12)
    matcher = grammars.matcher(WORDS, ())
    (rows,) = decode_all(decoder_of(model).stream, [Fork(prompt, (), 400, 0, None, matcher)], 2.0, 1)
    with torch.no_grad():
        logits = model(torch.tensor([list(prompt)])).logits[0, -1].float() / 2.0
    shares = logits[sorted(tokens(matcher, len(tokenizer)))].softmax(-1)
    first = [row.ids[0] for row in rows]
    for token, share in zip(sorted(tokens(matcher, len(tokenizer))), shares.tolist(), strict=True):
        assert first.count(token) / len(first) == pytest.approx(share, abs=0.08)


@needs_xgrammar
def test_only_where_the_grammar_is_complete_may_a_row_stop_and_then_it_must_or_go_on(
    grammars: Grammars, tokenizer: Any
) -> None:
    stop, encode = tokenizer.eos_token_id, lambda text: tokenizer(text, add_special_tokens=False).input_ids
    assert stop not in tokens(grammars.matcher(WORDS, ()), len(tokenizer))
    assert tokens(grammars.matcher(WORDS, encode("yes")), len(tokenizer)) == {stop}
    assert {stop, *encode("7")} <= tokens(grammars.matcher(WORDS, encode("no")), len(tokenizer))
    with pytest.raises(ValueError, match="not what its grammar lets follow"):
        grammars.matcher(WORDS, encode("maybe"))


@needs_xgrammar
def test_logits_beyond_the_tokenizer_are_never_allowed(tokenizer: Any) -> None:
    padded = Grammars(tokenizer, len(tokenizer) + 75, tokenizer.eos_token_id)
    assert max(tokens(padded.matcher("root ::= [^x]*", ()), len(tokenizer) + 75)) < len(tokenizer)


def test_without_a_grammar_the_logits_are_not_even_copied() -> None:
    logits = torch.randn(3, 7)
    assert allowed_logits(logits, [None, None, None]) is logits


def test_a_draw_beside_what_is_allowed_becomes_the_most_likely_token() -> None:
    nothing = float("-inf")
    allowed = torch.tensor([[nothing, 1.0, 2.0], [0.5, nothing, 0.1]])
    assert back_inside(torch.tensor([0, 2]), allowed).tolist() == [2, 2]


@needs_xgrammar
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
@pytest.mark.parametrize("share_prefixes", [True, False])
def test_a_constrained_policy_calls_tools_as_they_are_declared(
    tokenizer: Any, dialect: Any, share_prefixes: bool
) -> None:
    policy = policy_of(tokenizer, dialect, share_prefixes=share_prefixes)
    flags = {name: {"type": "boolean"} for name in ("loud", "long")}
    rings = {"name": "ring", "parameters": {"type": "object", "properties": flags, "required": ["loud"]}}
    prompt = policy.render(Prompt(ONE.prompt.messages, (rings,)))
    written = dialect.render([call("ring", loud=True)])
    begun = written[: written.index("ring") + 2]
    prefix = (*prompt, *tokenizer(begun, add_special_tokens=False).input_ids)
    for rows in (
        policy.sample([prefix], [8], 1.0, [0])[0],
        next(policy.stream(deque([Request(prefix, 8, 0)]), 1.0))[1],
    ):
        for row in rows:
            partial = dialect.scan(begun + read_text(policy, row.ids)).partial
            assert not partial.error and partial.calls
            for one in partial.calls:
                assert one.name == "ring" and {"loud"} <= set(one.arguments) <= set(flags)
                assert all(type(value) is bool for value in one.arguments.values())


@needs_xgrammar
def test_a_constrained_policy_goes_on_only_from_what_it_knows(tokenizer: Any) -> None:
    policy = policy_of(tokenizer, HERMES)
    with pytest.raises(ValueError, match="prompts that it has rendered"):
        policy.sample([ids_of(1, 9)], [1], 1.0, [0])
    begun = tokenizer('<tool_call>\n{"name": "strange"', add_special_tokens=False).input_ids
    with pytest.raises(ValueError, match="not what its grammar lets follow"):
        policy.sample([(*policy.render(ONE.prompt), *begun)], [1], 1.0, [0])


def policy_of(tokenizer: Any, dialect: Dialect, *, share_prefixes: bool = True) -> HfPolicy:
    template = Template(tokenizer, dialect)
    settings = PolicySettings(max_new_tokens=60)
    return HfPolicy(model_of(), template, settings, share_prefixes=share_prefixes, constrained=True)


@needs_xgrammar
def test_evaluation_is_constrained_where_asked_and_the_search_never_is(tmp_path: Path) -> None:
    for asked in (False, True):
        loop = Iterator(small_recipe(f"eval.constrained={asked}"), tmp_path / str(asked), quiet=True)
        loop.prepare()
        with loop.serve(Checkpoint(None)) as searched, loop.serve_evaluated(Checkpoint(None)) as evaluated:
            assert searched.grammars is None
            assert (evaluated.grammars is not None) == asked


@pytest.mark.slow
@needs_xgrammar
def test_a_run_with_constrained_evaluation_ends_where_one_without_does_but_for_its_scores(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / str(asked), "iters=1", f"eval.constrained={asked}") for asked in (False, True)]
    for name in ("samples", "trees", "pairs"):
        left, right = (lines_of(run.folder / "iter_001" / f"{name}.jsonl") for run in runs)
        assert left == right


def test_a_missing_package_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "xgrammar", None)
    assert main(["--recipe", "debug", "--run", str(tmp_path / "run"), "--set", "eval.constrained=true"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: eval.constrained: needs xgrammar") and "pip install -e '.[grammar]'" in line
