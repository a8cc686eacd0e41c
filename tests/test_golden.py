"""Trees of the scripted policy as they have been: whatever changes one byte of them changes what is trained on.

`ITERFT_WRITE_GOLDEN=1 pytest tests/test_golden.py` writes them anew; look at the difference before it is committed.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from toys import SAMPLES, MemoryJournal, policy_of, weak_of, world_of

from iterft.config import PairSettings, SearchSettings
from iterft.dialects.hermes import HERMES
from iterft.dialects.pythonic import PYTHONIC
from iterft.log import Log
from iterft.pairs import mine_pairs
from iterft.search import search
from iterft.search.mcts import SELECT
from iterft.store import tree_to_json
from iterft.types import PreferencePair, Tree

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = SearchSettings(num_simulations=6, num_samples=1, leaves_in_flight=2)


def grow(kind: str, dialect: str, max_requests: int = 1, trees_in_flight: int = 64) -> list[Tree]:
    speech = {"hermes": HERMES, "pythonic": PYTHONIC}[dialect]
    policy = policy_of(speech)
    policy.max_requests = max_requests
    weak = [weak_of(sample, policy, 3, speech) for sample in SAMPLES]
    settings = replace(SETTINGS, kind=kind, trees_in_flight=trees_in_flight)
    return search(policy, world_of(speech), weak, settings, 5, MemoryJournal(), Log(quiet=True), whole_turns=False)


def lines(trees: list[Tree]) -> list[str]:
    """A node a line. Log-probs to nine digits: the last ones are the C library's."""
    written = []
    for tree in trees:
        row = tree_to_json(tree)
        written.append(json.dumps({key: value for key, value in row.items() if key not in ("nodes", "prompt_ids")}))
        for node in row["nodes"]:
            step = node["step"]
            step["ids"] = "".join(chr(token) if token else "<stop>" for token in step["ids"])
            step["logprobs"] = [round(score, 9) for score in step["logprobs"]]
            node["prior"] = round(node["prior"], 9)
            written.append(json.dumps(node))
    return written


@pytest.mark.parametrize("dialect", ["hermes", "pythonic"])
@pytest.mark.parametrize("kind", SELECT)
def test_trees_are_those_that_were_committed(kind: str, dialect: str) -> None:
    path = GOLDEN / f"{kind}_{dialect}.jsonl"
    grown = lines(grow(kind, dialect))
    if os.environ.get("ITERFT_WRITE_GOLDEN"):
        path.write_text("\n".join(grown) + "\n", encoding="utf-8")
    assert grown == path.read_text(encoding="utf-8").splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("kind", SELECT)
def test_neither_batches_nor_trees_in_flight_nor_the_order_of_rows_change_a_byte(kind: str) -> None:
    def pairs(trees: list[Tree]) -> tuple[PreferencePair, ...]:
        return mine_pairs(trees, PairSettings()).pairs

    expected = grow(kind, "hermes")
    for max_requests in (1, 7, 64):
        for trees_in_flight in (1, 3, 64):
            trees = grow(kind, "hermes", max_requests, trees_in_flight)
            assert trees == expected
            assert pairs(trees) == pairs(expected)
    assert pairs(expected)
