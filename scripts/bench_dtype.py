"""float32 or bfloat16 on this machine? Whether `model.dtype: auto` chooses the faster one (docs/speed.md).

Both arms of each kind of work interleaved in one process, SmolLM2-135M shapes, random weights: forward and backward of
an SFT and of a DPO batch as `iterft` runs them, and the turns of a deficiency check: prompts prefilled, rows decoded.

python scripts/bench_dtype.py
"""

from __future__ import annotations

import argparse
import platform
import random
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from bench_search import NO_STOP
from bench_update import WORKS, Bench, measure, random_ids
from datasets import disable_progress_bars

from iterft.engine.decoding import Fork, decode_all
from iterft.engine.generate import PrefixDecoder
from iterft.models import dtype_of

DTYPES = ("float32", "bfloat16")
LISTS, QUERIES, OWN, NUM_SAMPLES, NUM_NEW = 8, 4, 60, 2, 32
"""Tool lists, queries that show each, tokens of a query, rows per query and new tokens of each."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = max(5, parser.parse_args().repeats)
    disable_progress_bars()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl", "peft"))
    print(f"{platform.machine()}; Python {platform.python_version()}, {packages}")
    print(f"`auto` is {dtype_of('auto')} here; median of {repeats}, arms interleaved")
    with tempfile.TemporaryDirectory() as folder:
        benches = {name: Bench(Path(folder) / name, getattr(torch, name), repeats) for name in DTYPES}
        for work in ("sft", "dpo-small"):
            compare(
                f"{work}: {WORKS[work]}",
                {name: bench.update_arm(WORKS[work], "ours", is_dpo=work != "sft") for name, bench in benches.items()},
                repeats,
            )
        compare(
            f"turns: {LISTS * QUERIES} prompts, {QUERIES} to a beginning of 300 tokens, {NUM_SAMPLES} rows each, "
            f"{NUM_NEW} new tokens",
            {name: decoding(bench.random_model("SmolLM2-135M")) for name, bench in benches.items()},
            repeats,
        )
    return 0


def compare(title: str, arms: dict[str, Callable[[], Any]], repeats: int) -> None:
    costs = measure(arms, repeats)
    print(f"\n{title}")
    for name, (seconds, _) in costs.items():
        print(f"  {name:9s}{seconds:8.2f} s{costs[DTYPES[0]][0] / seconds:7.2f}x", flush=True)


def decoding(model: Any) -> Callable[[], Any]:
    rng = random.Random(0)
    lists = [random_ids(rng, 300) for _ in range(LISTS)]
    prompts = [(*tools, *random_ids(rng, OWN)) for tools in lists for _ in range(QUERIES)]
    decoder = PrefixDecoder(model, NO_STOP, 2 << 30, 256)

    def arm() -> None:
        decoder.forget()
        decode_all(
            decoder.stream, [Fork(prompt, (), NUM_SAMPLES, seed) for seed, prompt in enumerate(prompts)], 0.7, NUM_NEW
        )

    return arm


if __name__ == "__main__":
    sys.exit(main())
