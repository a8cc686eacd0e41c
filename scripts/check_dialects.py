"""Does every dialect read back what it writes, and does its reader bear any text?

Per dialect: made calls, 0 to 3 a turn, with and without a think part before them, that are written and read back; then
texts, half of them random and half turns with slices replaced, one in 500 of some 10,000 characters, that are only
read. Prints what did not come back, exceptions and the slowest reading (the least of four times, as machines are busy).
Exit code 1 if a call did not come back, or a reader raised or took more than 50 ms.

python scripts/check_dialects.py [--round-trips 10000] [--texts 200000] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from iterft.build import DIALECTS
from iterft.chat import Dialect, parse
from iterft.types import ToolCall

BAR_MS = 50.0
LONG_SHARE, LONG = 1 / 500, 10_000
"""The share of long texts, and about how many characters they have."""

NAMES = ("get_weather", "math.sum", "get-it", "名前", "a:b", "3d", "True", "name", "arguments", "parameters")
THINKING = ("", "<think>\n\n</think>\n\n", "\n<think>f? [g()] {</think>")
FRAGMENTS = (
    *"[](){},:;='\"\\ \n\t<>|-+.0eEuxN_1aé😀\ud800\0",
    *("<tool_call>", "</tool_call>", "<think>", "</think>", "<|python_tag|>", "[TOOL_CALLS]"),
    *('{"name": "', '"arguments": {', '"parameters": {', '"a": ', "[f(", "a=1", "}}", "; ", "null", "NaN", "\\u00e9"),
)


@dataclass
class Reading:
    """Over the texts of one dialect."""

    exceptions: int = 0
    slowest_ms: float = 0.0
    slowest_characters: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--round-trips", type=int, default=10_000)
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    passed = True
    for name, dialect in DIALECTS.items():
        rng = random.Random(f"{name} {options.seed}")
        lost = sum(not comes_back(dialect, rng) for _ in range(options.round_trips))
        print(f"{name:9s} {options.round_trips:,} round trips: {lost} lost", flush=True)
        reading = read_texts(dialect, rng, options.texts)
        print(
            f"{name:9s} {options.texts:,} texts: {reading.exceptions} exceptions, slowest {reading.slowest_ms:.1f} ms "
            f"({reading.slowest_characters:,} characters)",
            flush=True,
        )
        passed &= not lost and not reading.exceptions and reading.slowest_ms <= BAR_MS
    return 0 if passed else 1


def comes_back(dialect: Dialect, rng: random.Random) -> bool:
    calls = some_calls(rng)
    turn = parse(dialect, rng.choice(THINKING) + dialect.render(calls))
    return (turn.error, turn.content, exact(turn.calls)) == ("", "", exact(calls))


def exact(calls: Sequence[ToolCall]) -> str:
    """Tells 1 from 1.0 and True, which == does not."""
    return json.dumps([[call.name, call.arguments] for call in calls])


def read_texts(dialect: Dialect, rng: random.Random, num_texts: int) -> Reading:
    reading = Reading()
    for number in range(num_texts):
        long = rng.random() < LONG_SHARE
        text = mutated_turn(dialect, rng, long) if number % 2 else random_text(rng, long)
        try:
            took = milliseconds(dialect, text)
        except Exception as error:
            reading.exceptions += 1
            print(f"{dialect.name}: {error!r} on {text!r}")
            continue
        if took > reading.slowest_ms:
            took = min(took, *(milliseconds(dialect, text) for _ in range(3)))
        if took > reading.slowest_ms:
            reading.slowest_ms, reading.slowest_characters = took, len(text)
    return reading


def milliseconds(dialect: Dialect, text: str) -> float:
    started = time.perf_counter()
    parse(dialect, text)
    return (time.perf_counter() - started) * 1000


def random_text(rng: random.Random, long: bool) -> str:
    """Characters and fragments that matter to a reader, in no order; half of the long texts repeat a few of them."""
    fragments = rng.choices(FRAGMENTS, k=rng.randint(1, 12 if long else 60))
    if long:
        fragments = fragments * LONG if rng.random() < 0.5 else rng.choices(FRAGMENTS, k=LONG)
    return "".join(fragments)[:LONG]


def mutated_turn(dialect: Dialect, rng: random.Random, long: bool) -> str:
    """A well-formed turn, of one call more if it is to be long, with one to three slices replaced."""
    calls = some_calls(rng)
    if long:
        calls = [ToolCall("f", {"a": [some_value(rng, 3) for _ in range(LONG // 20)]}), *calls]
    text = rng.choice(THINKING) + dialect.render(calls)
    for _ in range(rng.randint(1, 3)):
        start = rng.randint(0, len(text))
        text = text[:start] + rng.choice(("", *FRAGMENTS)) + text[start + rng.randint(0, 4) :]
    return text


def some_calls(rng: random.Random) -> list[ToolCall]:
    return [
        ToolCall(rng.choice(NAMES), {key: some_value(rng, 0) for key in rng.sample(NAMES, rng.randint(0, 3))})
        for _ in range(rng.randint(0, 3))
    ]


def some_value(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(6 if depth >= 3 else 8)
    if kind < 2:
        return some_string(rng)
    if kind == 2:
        return rng.choice((None, True, False))
    if kind == 3:
        return rng.randint(-1000, 1000) * rng.choice((1, 1, 10**20))
    if kind < 6:
        return rng.choice((0.5, -0.0, 1.0, 1e-7, 1.5e300, rng.gauss(0, 1), rng.random() * 10 ** rng.randint(-30, 30)))
    if kind == 6:
        return [some_value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    return {some_string(rng): some_value(rng, depth + 1) for _ in range(rng.randint(0, 3))}


def some_string(rng: random.Random) -> str:
    """Fragments without the lone surrogate, which is no character."""
    return "".join(part for part in rng.choices(FRAGMENTS, k=rng.randint(0, 5)) if part != "\ud800")


if __name__ == "__main__":
    sys.exit(main())
