"""The rules backend in figures: samples per second, and whether what it makes is sound.

Evolves tools out of the built-in ones (or those of --tools), makes samples of them, and judges these anew from their
rows: share that passes every rule and the verifier, shares of kinds, exact and near duplicates, coverage of the tools.
The generator of the built-in tasks runs beside it, as a measure of the machine. Exit code 1 if a sample fails.

python scripts/bench_synth.py [-n 20000] [--evolve 1293] [--tools my_tools.py]
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iterft import Recipe, build
from iterft.data import collector_paused
from iterft.synth.checks import Objection, check
from iterft.synth.evolve import evolve
from iterft.synth.overview import duplicate_shares
from iterft.synth.pipeline import Order, nothing_yet, synthesize
from iterft.synth.rows import line_of, sample_of
from iterft.synth.shares import SHARES
from iterft.synth.spoken import SpokenTool
from iterft.synth.stock import built_in_tools, definition_of, spoken_of, stock_of
from iterft.synth.tasks import generate
from iterft.toolsets.forms import load_toolset
from iterft.types import Sample


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", "--num", type=int, default=20_000)
    parser.add_argument("--evolve", type=int, default=1293)
    parser.add_argument("--tools", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, seed {options.seed}")
    try:
        with collector_paused():
            return measure(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def measure(options: argparse.Namespace) -> int:
    clock = Clock()
    generate(2000, options.seed, "train")
    clock.tell("built-in tasks, for comparison", 2000, "samples")
    tools = grown_tools(options)
    clock.tell(f"{len(tools)} tools of {len({tool.spec.domain for tool in tools})} domains", len(tools), "tools")
    stock = stock_of(tools)
    order = Order(options.num, options.seed, "bench", False, frozenset(), verdicts)
    progress = nothing_yet(stock)
    rows: list[dict[str, Any]] = []
    size = 0
    for entry in synthesize(stock, order, progress):
        rows += entry.get("rows", ())
        size += len(line_of(entry))
    clock.tell(f"{len(rows)} samples made, checked and written out ({size / 1e6:.0f} MB)", len(rows), "samples")
    failed = Counter(objection.reason for row in rows for objection in verdicts(sample_of(row)))
    clock.tell("read back and checked anew", len(rows), "samples")
    exact, near = duplicate_shares(rows)
    counts = Counter(row["provenance"]["dialogue"] for row in rows)
    furthest = max(abs(counts[kind] / len(rows) - share) for kind, share in SHARES.items())
    asked = Counter(name for row in rows for name in row["provenance"]["tools"])
    print(f"pass every rule and the verifier: {1 - failed.total() / len(rows):.2%} {dict(failed) or ''}")
    print(f"exact duplicates {exact:.2%}, near duplicates {near:.2%}; kinds within {furthest:.2%} of their shares")
    print(f"tools asked for: {len(asked)} of {len(tools)}; given up: {', '.join(progress.given_up) or 'no kind'}")
    print(f"draws thrown away: {dict(progress.redrawn.most_common())}")
    return int(bool(failed))


class Clock:
    """Prints the time since it last did, on the clock and of the processor."""

    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def tell(self, what: str, number: int, unit: str) -> None:
        wall, processor = time.perf_counter() - self.wall, time.process_time() - self.processor
        print(f"{what}: {wall:.1f} s, {number / wall:,.0f} {unit} per second; ", end="")
        print(f"{number / processor:,.0f} per second of processor time", flush=True)
        self.wall, self.processor = time.perf_counter(), time.process_time()


def grown_tools(options: argparse.Namespace) -> Sequence[SpokenTool]:
    if options.tools:
        made = [spoken_of(definition) for definition in load_toolset(options.tools).definitions]
    else:
        made = built_in_tools()
    evolved = evolve([definition_of(tool) for tool in made], options.evolve, options.seed)
    return made + [spoken_of(each.definition, each.operators, each.origin) for each in evolved]


def verdicts(sample: Sample) -> list[Objection]:
    objections = check(sample, tuple(build.DIALECTS.values()))
    verdict = _WORLD.judge(sample, build.reference_turn(sample))
    return objections + ([Objection(verdict.reason, "")] if verdict.value < 1 else [])


_WORLD = build.world(Recipe.load())


if __name__ == "__main__":
    sys.exit(main())
