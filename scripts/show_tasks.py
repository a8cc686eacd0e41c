"""Prints what the built-in tasks look like: samples of each kind, counts, prompt sizes, generation speed.

python scripts/show_tasks.py [--num 2000] [--seed 0] [--split train] [--each 3]
Sizes are estimates of 4 characters per token; this loads no tokenizer.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import time
from collections import Counter

from iterft.synth.catalog import load_catalog
from iterft.synth.tasks import generate, tool_split
from iterft.types import Sample

_CHARACTERS_PER_TOKEN = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("train", "held_out"), default="train")
    parser.add_argument("--each", type=int, default=3, help="samples shown of each kind")
    arguments = parser.parse_args()

    tools = load_catalog().tools
    train, held_out = tool_split(0)
    print(f"{len(tools)} tools in {len({tool.domain for tool in tools.values()})} domains, ", end="")
    print(f"{len(train)} to train on, {len(held_out)} held out")

    started = time.perf_counter()
    samples = generate(arguments.num, arguments.seed, arguments.split)
    seconds = time.perf_counter() - started
    print(f"{len(samples)} samples in {seconds:.2f} s: {len(samples) / seconds:,.0f} per second")
    for kind, count in Counter(sample.kind for sample in samples).items():
        print(f"  {kind:20s} {count:6d}  {count / len(samples):.3f}")
    _print_sizes(samples)
    for kind in sorted({sample.kind for sample in samples}):
        for sample in [sample for sample in samples if sample.kind == kind][: arguments.each]:
            _print_sample(sample)


def _print_sizes(samples: list[Sample]) -> None:
    num_candidates = [len(sample.prompt.tools) for sample in samples]
    tool_tokens = [len(json.dumps(sample.prompt.tools)) / _CHARACTERS_PER_TOKEN for sample in samples]
    print(f"candidates: median {statistics.median(num_candidates)}, {sorted(Counter(num_candidates).items())}")
    print(f"tool tokens (estimated): median {statistics.median(tool_tokens):.0f}, most {max(tool_tokens):.0f}")


def _print_sample(sample: Sample) -> None:
    print(f"\n[{sample.kind}] {sample.id}  tools: {', '.join(tool['name'] for tool in sample.prompt.tools)}")
    for message in sample.prompt.messages:
        print(f"  {message['role']}: {message['content']}")
    for line in sample.thought.split("\n"):
        print(f"  ({line})")
    for call in sample.answer:
        print(f"  -> {call.name}({json.dumps(call.arguments, ensure_ascii=False)})")
    if sample.text:
        print(f"  => {sample.text}")


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a traceback
    main()
