"""Does `CallMatch` decide as BFCL's official checker does? Every reference, and seeded mutations of it, by both.

Prints the agreement by category and kind of mutation, lists disagreements, times both checkers interleaved. Exit code 1
on any disagreement. Tools are read in both vocabularies: as converted for the prompt, and as published by bfcl-eval.

python scripts/check_verifier.py [--mutations 20] [--seed 0]
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from iterft.config import BFCL_CALLS
from iterft.evals import bfcl
from iterft.rewards.call_match import CallMatch
from iterft.types import Sample, ToolCall, Trajectory, Turn

Calls = tuple[ToolCall, ...]
NUM_ROUNDS = 5
CONFUSIONS: tuple[Any, ...] = (0, 1, 2.5, True, None, "", "x", "1", [], ["x"], [1], [[1]], [{}], {}, {"x": 1})


@dataclass(frozen=True)
class Case:
    """One answer to one sample, and the kind of mutation that it came from."""

    sample: Sample
    kind: str
    calls: Calls


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=20, help="mutations per sample")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"python {platform.python_version()}, bfcl-eval {version('bfcl-eval')}, seed {options.seed}")
    samples = [sample for category in BFCL_CALLS for sample in bfcl.load(category)]
    references = [Case(sample, "reference", reference_calls(sample)) for sample in samples]
    mutants = [mutant for sample in samples for mutant in mutate(sample, options.mutations, options.seed)]
    num_disagreements = report_agreement("references", references) + report_agreement("mutations", mutants)
    report_time("references", references)
    report_time("mutations", mutants[:: max(1, len(mutants) // len(references))])
    return 1 if num_disagreements else 0


def reference_calls(sample: Sample) -> Calls:
    """The first accepted alternative of everything; what may be left out is left out, unless the tool requires it."""
    required = {tool["name"]: tool["parameters"].get("required", ()) for tool in sample.prompt.tools}
    calls = []
    for entry in sample.answer:
        arguments = {}
        for parameter, others in entry.arguments.items():
            if others and ("" not in others or parameter in required.get(entry.name, ())):
                arguments[parameter] = unwrapped(next((other for other in others if other != ""), ""))
        calls.append(ToolCall(entry.name, arguments))
    return tuple(calls)


def unwrapped(value: Any) -> Any:
    """A plain value from an accepted one: objects, and objects in lists, hold alternatives one level deep."""
    if isinstance(value, Mapping):
        kept = {key: [other for other in others if other != ""] for key, others in value.items()}
        return {key: others[0] for key, others in kept.items() if others}
    if isinstance(value, list):
        return [unwrapped(item) if isinstance(item, Mapping) else item for item in value]
    return value


def mutate(sample: Sample, num_mutations: int, seed: int) -> list[Case]:
    """Seeded by the sample's id, so that a case can be found again."""
    rng = random.Random(f"{seed} {sample.id}")
    cases = []
    for _ in range(num_mutations):
        kind = rng.choice(tuple(MUTATIONS))
        calls = MUTATIONS[kind](sample, everything_written(sample, rng), rng)
        if rng.random() < 0.15:
            calls = MUTATIONS[rng.choice(tuple(MUTATIONS))](sample, calls, rng) if calls else calls
            kind = "two at once"
        cases.append(Case(sample, kind, calls))
    return cases


def everything_written(sample: Sample, rng: random.Random) -> Calls:
    """A random accepted alternative of each argument, with optional ones written half of the time."""
    calls = []
    for entry, call in zip(sample.answer, reference_calls(sample), strict=True):
        arguments = dict(call.arguments)
        for parameter, others in entry.arguments.items():
            if others and (parameter in arguments or rng.random() < 0.5):
                arguments[parameter] = unwrapped(rng.choice(others))
        calls.append(ToolCall(entry.name, arguments))
    return tuple(calls)


def in_one_call(change: Callable[[Sample, ToolCall, random.Random], ToolCall]) -> Callable[..., Calls]:
    def mutation(sample: Sample, calls: Calls, rng: random.Random) -> Calls:
        index = rng.randrange(len(calls))
        return (*calls[:index], change(sample, calls[index], rng), *calls[index + 1 :])

    return mutation


def in_one_argument(change: Callable[[Any, random.Random], Any]) -> Callable[..., Calls]:
    def mutation(sample: Sample, call: ToolCall, rng: random.Random) -> ToolCall:
        changed = rng.choice((*call.arguments, None))
        return replace(call, arguments={k: change(v, rng) if k == changed else v for k, v in call.arguments.items()})

    return in_one_call(mutation)


def other_value(value: Any, rng: random.Random) -> Any:
    """Another value of the same type: close enough that spelling rules decide."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return rng.choice((value + 1, -value, value * 10, value))
    if isinstance(value, str):
        blank, comma = rng.choice("_.^x"), rng.choice("-;")
        same = (value.upper(), f" {value}.", value.replace(" ", blank), value.replace(",", comma), f"'{value}'")
        return rng.choice((*same, value.replace('"', "'"), value + "x", value + "!", value[:-1], ""))
    if isinstance(value, list):
        edited = list(value)
        rng.shuffle(edited)
        return rng.choice((edited, value[:-1], [*value, *value[:1]], [other_value(item, rng) for item in value], []))
    return nested_value(value, rng) if value else value


def other_type(value: Any, rng: random.Random) -> Any:
    if isinstance(value, bool):
        return rng.choice((str(value), int(value), *CONFUSIONS))
    if isinstance(value, int | float):
        return rng.choice((str(value), float(value), int(value), [value], *CONFUSIONS))
    if isinstance(value, list):
        return rng.choice((str(value), dict.fromkeys(map(str, value), 1), [str(v) for v in value], *CONFUSIONS))
    return rng.choice(([value], {"value": value}, *CONFUSIONS))


def nested_value(value: Any, rng: random.Random) -> Any:
    """A change inside an object or list: its values, types, keys, length."""
    if isinstance(value, dict) and value:
        key = rng.choice(tuple(value))
        rest = {k: v for k, v in value.items() if k != key}
        turned = dict(reversed(value.items()))
        options = ({**value, key: other_value(value[key], rng)}, {**value, key: other_type(value[key], rng)})
        return rng.choice((*options, rest, {**rest, key + "x": value[key]}, {**value, "extra": 1}, turned, {}))
    if isinstance(value, list) and value:
        index = rng.randrange(len(value))
        item = rng.choice((other_value, other_type, nested_value))(value[index], rng)
        return [*value[:index], item, *value[index + 1 :]]
    return other_value(value, rng)


def other_name(sample: Sample, call: ToolCall, rng: random.Random) -> ToolCall:
    names = [tool["name"] for tool in sample.prompt.tools]
    return replace(call, name=rng.choice([*names, call.name + "x", call.name.upper(), call.name.replace(".", "_")]))


def without_argument(sample: Sample, call: ToolCall, rng: random.Random) -> ToolCall:
    dropped = rng.choice([*call.arguments, ""])
    return replace(call, arguments={name: value for name, value in call.arguments.items() if name != dropped})


def with_argument(sample: Sample, call: ToolCall, rng: random.Random) -> ToolCall:
    tool = next((tool for tool in sample.prompt.tools if tool["name"] == call.name), sample.prompt.tools[0])
    parameter = rng.choice([*tool["parameters"]["properties"], "extra"])
    return replace(call, arguments={**call.arguments, parameter: rng.choice(CONFUSIONS)})


def other_order(sample: Sample, calls: Calls, rng: random.Random) -> Calls:
    turned = [replace(call, arguments=dict(list(call.arguments.items())[::-1])) for call in calls]
    rng.shuffle(turned)
    return tuple(turned)


def mixed_arguments(sample: Sample, calls: Calls, rng: random.Random) -> Calls:
    """Arguments swapped between two calls: matching decides."""
    first, second = rng.choice(calls), rng.choice(calls)
    return tuple(replace(call, arguments=first.arguments) if call is second else call for call in calls)


def other_count(sample: Sample, calls: Calls, rng: random.Random) -> Calls:
    return rng.choice((calls[1:], calls[:-1], (), (*calls, rng.choice(calls)), (*calls[:-1], calls[0])))


MUTATIONS: Mapping[str, Callable[..., Calls]] = {
    "value": in_one_argument(other_value),
    "type": in_one_argument(other_type),
    "nested": in_one_argument(nested_value),
    "name": in_one_call(other_name),
    "missing": in_one_call(without_argument),
    "extra": in_one_call(with_argument),
    "order": other_order,
    "mixed": mixed_arguments,
    "count": other_count,
    "accepted": lambda sample, calls, rng: calls,
}


def report_agreement(title: str, cases: Sequence[Case]) -> int:
    """Prints each disagreement, then the agreement by category and kind; the number of disagreements."""
    judge = CallMatch()
    totals: Counter[str] = Counter()
    agreed: Counter[str] = Counter()
    for case in cases:
        turn = Turn("", case.calls)
        theirs = bfcl.official(case.sample, turn)
        functions = tuple(case.sample.env_config["functions"])
        published = replace(case.sample, prompt=replace(case.sample.prompt, tools=functions))
        verdicts = [judge(Trajectory(sample, (turn,))) for sample in (case.sample, published)]
        agrees = all((verdict.value == 1.0) == theirs for verdict in verdicts)
        for key in ("all", f"all, official verdict {theirs}", case.sample.kind, f"- {case.kind}"):
            totals[key] += 1
            agreed[key] += agrees
        if not agrees:
            print(f"DISAGREES {case.sample.id} official={theirs} ours={verdicts} {case.calls} {case.sample.answer}")
    print(f"\n{title} on which both agree")
    for key in sorted(totals):
        print(f"  {key:<40} {agreed[key]:>6} of {totals[key]}")
    return totals["all"] - agreed["all"]


def report_time(title: str, cases: Sequence[Case]) -> None:
    """Microseconds an item, both checkers in turn within each round so that both meet the same machine."""
    judge = CallMatch()
    trajectories = [Trajectory(case.sample, (Turn("", case.calls),)) for case in cases]
    ours, theirs = [], []
    for _ in range(NUM_ROUNDS):
        start = time.perf_counter()
        for trajectory in trajectories:
            judge(trajectory)
        middle = time.perf_counter()
        for trajectory in trajectories:
            bfcl.official(trajectory.sample, trajectory.turns[0])
        ours.append((middle - start) / len(cases) * 1e6)
        theirs.append((time.perf_counter() - middle) / len(cases) * 1e6)
    mine, official = statistics.median(ours), statistics.median(theirs)
    print(f"\ntime per item, {title} ({len(cases)} items, median of {NUM_ROUNDS} rounds):")
    print(f"  CallMatch {mine:.1f} us, official {official:.1f} us, ratio {mine / official:.2f}")


if __name__ == "__main__":
    sys.exit(main())
