"""Rows per second from a file of data to samples ready to train on: read, put into tiers, augment.

Every row is read, every share of made samples and of changed lists is above 0 (typos and rewordings are left out), the
pool of tools is read and indexed anew each time. Half of the lists get distractors (half of these near ones) and half
another order, a third (Hammer's share) random names. The time counted is that on the clock, so nothing else should run
meanwhile; processor time is printed beside it.

python scripts/bench_data.py rows.jsonl.gz [--pool tools.jsonl.gz]
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median

from iterft.augment import augment
from iterft.augment.pool import load_pool
from iterft.config import DataSettings, TierSettings
from iterft.data import collector_paused, load_samples
from iterft.warmup import tiers_of

SETTINGS = DataSettings(
    no_call_share=0.2, parallel_share=0.1, distractor_share=0.5, shuffled_share=0.5, masked_share=0.33
)
STEPS = ("read", "tier", "augment")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--pool", default="", metavar="FILE", help="a file of tools; without, the tools of the rows")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    print(f"iterft {version('iterft')}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    print(f"augmentation: {', '.join(f'{key} {value}' for key, value in vars(SETTINGS).items() if 'share' in key)}")
    try:
        runs = [measure(options.file, options.pool) for _ in range(max(5, options.repeats))]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    num_rows, num_samples, num_tools = runs[0][0]
    print(f"{num_rows:,} rows, {num_samples:,} samples after augmentation, {num_tools:,} tools in the pool")
    for index, step in enumerate(STEPS):
        print(f"  {step:8} {1000 * median(seconds[index] for _, seconds, _ in runs):7.0f} ms")
    rates = sorted(num_rows / sum(seconds) for _, seconds, _ in runs)
    by_processor = median(num_rows / seconds for _, _, seconds in runs)
    print(f"{median(rates):,.0f} rows/s, the median of {len(runs)} ({rates[0]:,.0f} to {rates[-1]:,.0f}); ", end="")
    print(f"{by_processor:,.0f} rows per second of processor time")
    return 0


@collector_paused()  # once for all, as `build.parts` has it
def measure(file: Path, pool: str) -> tuple[tuple[int, int, int], list[float], float]:
    """(rows, samples, tools in the pool), seconds of each step, seconds of processor time."""
    marks, processor = [time.perf_counter()], time.process_time()
    loaded = load_samples(file, "FILE", 0.05)
    samples = loaded.samples
    marks.append(time.perf_counter())
    tiers_of(samples, TierSettings())
    marks.append(time.perf_counter())
    tools = load_pool(pool, samples, held_out=())
    augmented = augment(samples, SETTINGS, tools, seed=0)
    marks.append(time.perf_counter())
    processor = time.process_time() - processor
    seconds = [after - before for before, after in pairwise(marks)]
    return (loaded.num_rows, len(augmented), len(tools.tools)), seconds, processor


if __name__ == "__main__":
    sys.exit(main())
