"""From a policy's tokens to a verdict: sample turns, read them, let the environment answer, verify.

One turn per sample: an environment that is not done after it is a multi-turn one, which the loop does not search yet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from iterft.chat import Dialect, finish, parse, read, think_part
from iterft.log import Log
from iterft.protocols import Environment, Policy, Verifier
from iterft.types import Completion, Reward, Sample, ToolCall, Trajectory, Turn


@dataclass(frozen=True)
class Rollout:
    """One sampled turn with its verdict."""

    completion: Completion
    turn: Turn
    reward: Reward


@dataclass(frozen=True)
class World:
    """What turns tokens into verdicts; travels through the steps as one."""

    dialect: Dialect
    env: Environment
    verifier: Verifier

    def judge(self, sample: Sample, turn: Turn) -> Reward:
        return self.verifier(self.play(sample, turn))

    def explain(self, sample: Sample, turn: Turn) -> str:
        """One sentence on why the turn fails; "" when it passes."""
        return self.verifier.explain(self.play(sample, turn))

    def refutes(self, policy: Policy, sample: Sample, ids: Sequence[int]) -> bool:
        """Whether the last of `ids` settles that the unfinished turn cannot pass: an element ends there, or nothing is
        well-formed any more."""
        texts = policy.token_texts(ids)
        scan = read(self.dialect, settled_text(texts))
        if not self.verifier.objection(sample, scan.partial):
            return False
        return bool(scan.partial.error) or scan.marks != read(self.dialect, settled_text(texts[:-1])).marks

    def play(self, sample: Sample, turn: Turn) -> Trajectory:
        state, _, done = self.env.step(self.env.reset(sample), turn)
        if not done:
            raise ValueError(
                f"sample {sample.id}: its environment goes on after one turn; use one that ends (recorded)"
            )
        return state


def read_text(policy: Policy, ids: Sequence[int]) -> str:
    """The text of an unfinished turn (`settled_text`)."""
    return settled_text(policy.token_texts(ids))


def settled_text(texts: Sequence[str]) -> str:
    """What the tokens of an unfinished turn spell, without a last character of which tokens are still to come."""
    return "".join(texts).rstrip("\ufffd")


def read_turn(policy: Policy, dialect: Dialect, ids: Sequence[int], finish_reason: str) -> Turn:
    """The turn that `ids` spell; one that ran out of tokens is not well-formed. What is not has all of its text as
    `content`."""
    text = "".join(policy.token_texts(ids))
    if finish_reason == "length":
        return Turn(text, error="the turn did not end within the token budget")
    turn = parse(dialect, text)
    return replace(turn, content=text) if turn.error else turn


def roll_out(
    policy: Policy,
    world: World,
    samples: Sequence[Sample],
    num_samples: int,
    temperature: float,
    seed: int,
    log: Log,
    name: str,
    *,
    to_the_end: bool = False,
) -> list[list[Rollout]]:
    """[P][N] verified turns. The draws of a sample depend on its id and `seed` only. A turn is sampled until it is
    refuted (it then fails for the reason of its first error), or always `to_the_end`."""
    prompts = [policy.render(sample.prompt) for sample in samples]
    with log.progress(name, len(samples)) as advance:
        rows = policy.sample(
            prompts,
            [num_samples] * len(samples),
            temperature,
            [seed_of(seed, sample.id) for sample in samples],
            advance,
            None if to_the_end else lambda p, ids: world.refutes(policy, samples[p], ids),
        )
    return [
        [verify(policy, world, sample, completion) for completion in completions]
        for sample, completions in zip(samples, rows, strict=True)
    ]


def verify(policy: Policy, world: World, sample: Sample, completion: Completion) -> Rollout:
    if completion.finish_reason == "refuted":
        partial = read(world.dialect, read_text(policy, completion.ids)).partial
        return Rollout(completion, finish(partial), Reward(0.0, world.verifier.objection(sample, partial)))
    turn = read_turn(policy, world.dialect, completion.ids, completion.finish_reason)
    return Rollout(completion, turn, world.judge(sample, turn))


def seed_of(*parts: object) -> int:
    """A 63-bit seed that depends on all parts and on nothing else (unlike `hash`, which differs between processes)."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def reference_calls(sample: Sample) -> tuple[ToolCall, ...]:
    """The reference as calls."""
    return tuple(map(settle_call, sample.answer))


def settle_call(call: ToolCall) -> ToolCall:
    """The call with plain values: of each argument the first alternative, see `types.Sample`."""
    return ToolCall(call.name, {key: settle(values[0]) for key, values in call.arguments.items() if is_written(values)})


def settle(value: object) -> object:
    """One alternative as a plain value: an accepted object holds lists of alternatives one level deep."""
    if isinstance(value, dict):
        kept = ((key, options) for key, options in value.items() if isinstance(options, list))
        return {key: options[0] for key, options in kept if is_written(options)}
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [settle(item) for item in value]
    return value


def is_written(alternatives: Sequence[object]) -> bool:
    """Whether the reference writes the argument (or field): not where "" stands in front of other alternatives, and not
    where there are none."""
    return len(alternatives) == 1 or (bool(alternatives) and alternatives[0] != "")


def left_out_first(alternatives: Sequence[Any]) -> list[Any]:
    """The same alternatives of a reference that leaves the argument out, if that is among them."""
    return sorted(alternatives, key=lambda each: each != "")


def reference_text(dialect: Dialect, sample: Sample) -> str:
    """The reference turn as the dialect writes it; the sample's own words where no call is right."""
    turn = dialect.render(reference_calls(sample)) if sample.answer else sample.text
    return reference_thought(dialect, sample) + turn


def reference_thought(dialect: Dialect, sample: Sample) -> str:
    """The think part that the reference turn begins with; "" where the dialect has none, or the sample."""
    return think_part(sample.thought) if dialect.thinks and sample.thought else ""


def reference_turns(policy: Policy, world: World, samples: Sequence[Sample]) -> list[tuple[Completion, ...]]:
    """Per sample the reference turn with its log-probs under the policy; behind it, where it holds several calls, its
    beginnings, turns that end too early."""
    texts = []
    for sample in samples:
        calls, thought = reference_calls(sample), reference_thought(world.dialect, sample)
        beginnings = (thought + world.dialect.render(calls[:count]) for count in range(1, len(calls)))
        texts.append([reference_text(world.dialect, sample), *beginnings])
    prompts = [policy.render(sample.prompt) for sample, own in zip(samples, texts, strict=True) for _ in own]
    turns = [policy.encode_turn(text) for own in texts for text in own]
    scores = policy.logprob(prompts, turns)
    scored = iter([Completion(ids, tuple(row), "stop") for ids, row in zip(turns, scores, strict=True)])
    return [tuple(next(scored) for _ in own) for own in texts]
