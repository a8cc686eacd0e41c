"""Do the rules find every fault, by its name? Faults of each rule's kind, planted into samples that are sound.

Each into a sample of its own, in several ways, at places drawn by the seed (tests/planting.py). A fault is missed when
its rule says nothing, or when a rule that has nothing to do with it objects as well; a sample that was not sound before
is no ground to plant into. Exit code 1 on any of these, or where a rule has fewer plants than asked for.

python scripts/check_rules.py [--each 40] [--seed 0]
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from planting import FAULTS, grounds, outcome, planted

from iterft.synth.checks import ASPECTS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=40, help="faults of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, seed {options.seed}")
    start = time.perf_counter()
    num_planted: Counter[str] = Counter()
    num_caught: Counter[str] = Counter()
    others: Counter[tuple[str, str]] = Counter()
    num_wrong = 0
    for one in planted(grounds(options.each, options.seed), options.each, options.seed):
        found = outcome(one)
        num_planted[one.reason] += 1
        num_caught[one.reason] += found.is_caught
        others.update((one.reason, other) for other in found.others)
        if not found.is_right:
            num_wrong += 1
            told = f"{sorted(found.before)} before, {sorted(found.after)} after"
            print(f"WRONG {one.reason}, way {one.way}, in {one.sound.id}: {told}")
    print(f"{'rule':26}{'aspect':15}{'planted':>8}{'caught':>8}  other names")
    for aspect, rules in ASPECTS.items():
        for rule in rules:
            more = ", ".join(f"{other} {count}" for (reason, other), count in others.items() if reason == rule)
            print(f"{rule:26}{aspect:15}{num_planted[rule]:8}{num_caught[rule]:8}  {more}".rstrip())
    num_rules = sum(map(len, ASPECTS.values()))
    least = min(num_planted[rule] for rules in ASPECTS.values() for rule in rules)
    print(
        f"{num_rules} rules in {sum(map(len, FAULTS.values()))} ways, at least {least} faults of each kind: "
        f"{num_caught.total()} of {num_planted.total()} caught by their names in as many samples, "
        f"{others.total()} other names, {num_wrong} wrong; {time.perf_counter() - start:.1f} s"
    )
    return int(num_wrong > 0 or least < options.each)


if __name__ == "__main__":
    sys.exit(main())
