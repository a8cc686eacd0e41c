"""How long a user waits: for --help, for --dry-run, for the debug recipe and, with --default, for the default one.

Each is a process of its own, as a user starts it; the first two take turns, medians of RUNS. Printed with them: peak
memory, and whether --help and --dry-run import torch. The base model is fetched before anything is timed.

python scripts/bench_start.py [--default]
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

from iterft import Recipe, build
from iterft.log import Log

LOOP = [sys.executable, "-m", "iterft.loop"]
QUICK = {"--help": [*LOOP, "--help"], "--dry-run": [*LOOP, "--dry-run"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--default", action="store_true", help="the default recipe too (a quarter of an hour and more)")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(f"python {platform.python_version()}, torch {version('torch')}, {os.cpu_count()} cores")
    taken: dict[str, list[float]] = {name: [] for name in QUICK}
    for _ in range(options.runs):
        for name, command in QUICK.items():
            taken[name].append(run(command)[0])
    for name, seconds in taken.items():
        modules = subprocess.run(
            [sys.executable, "-X", "importtime", *QUICK[name][1:]], capture_output=True, text=True, check=True
        ).stderr
        is_there = any(line.split("|")[-1].strip() == "torch" for line in modules.splitlines())
        print(f"{name}: {median(seconds):.2f} s (median of {options.runs}), torch {'' if is_there else 'not '}imported")
    with tempfile.TemporaryDirectory(prefix="iterft-start-") as folder:
        for name in ("debug", "smollm2-135m") if options.default else ("debug",):
            build.base_and_template(Recipe.load(name), Log(quiet=True))
            seconds, gib = run([*LOOP, "--recipe", name, "--run", str(Path(folder) / name)])
            print(f"--recipe {name}: {int(seconds // 60)} min {seconds % 60:.0f} s, {gib:.1f} GiB at most", flush=True)
    return 0


def run(command: list[str]) -> tuple[float, float]:
    """(seconds, GiB at its peak) of a process that must succeed."""
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit code {child.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - started, usage.ru_maxrss * unit / 1024**3


if __name__ == "__main__":
    sys.exit(main())
