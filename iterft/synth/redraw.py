"""The rules backend's way to a harder or simpler dialogue: draw others of the same kind about the same tool.

Their lists of tools are longer and nearer, or shorter and farther, by a level; their wordings, values, options and
numbers of calls are whatever comes, so that a choice can be made among them (`rounds`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from iterft.synth.near import NearDuplicates
from iterft.synth.pipeline import Order, drawn_entry, world_of
from iterft.synth.rounds import Remake
from iterft.synth.stock import Stock

NUM_DRAWS = 16
MAX_LEVEL = 3


def redrawing(
    stock: Stock, order: Order, texts: NearDuplicates, num_draws: int = NUM_DRAWS, max_level: int = MAX_LEVEL
) -> Remake:
    """`texts`: what users say already, which is not to be said again. Draws go through the levels up to the highest."""
    world = world_of(stock, order)
    about = functools.cache(stock.about)

    def remake(entry: Mapping[str, Any], number: int, attempt: int, *, harder: bool) -> Sequence[dict[str, Any]]:
        lead = entry["rows"][0]["provenance"]["tools"][0]
        made = []
        for draw in range(num_draws):
            scope = f"{order.seed} {number} {entry['kind']} again {attempt} {draw}"
            level = draw % (max_level + 1) * (1 if harder else -1)
            drawn, _ = drawn_entry(entry["kind"], about(lead), world, order, number, texts, scope, level)
            if drawn:
                made.append(drawn)
        return made

    return remake
