"""The rules backend's way to a harder or simpler dialogue: draw others of the same kind about the same tool.

Their lists of tools are longer and nearer, or shorter and farther, by a level. Most go the way that is asked for, some
the other way, as a policy may find hard what looks simple. Wordings, values, options and numbers of calls are whatever
comes: the choice is made among them (`rounds`).
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
LEVELS = (0, 1, 2, 3, -1, -2)
"""Of the draws in turn, above 0 the way that is asked for."""


def redrawing(
    stock: Stock, order: Order, texts: NearDuplicates, num_draws: int = NUM_DRAWS, levels: Sequence[int] = LEVELS
) -> Remake:
    """`texts`: what users say already, which is not to be said again."""
    world = world_of(stock, order)
    about = functools.cache(stock.about)

    def remake(entry: Mapping[str, Any], number: int, attempt: int, *, harder: bool) -> Sequence[dict[str, Any]]:
        lead = entry["rows"][0]["provenance"]["tools"][0]
        made = []
        for draw in range(num_draws):
            scope = f"{order.seed} {number} {entry['kind']} again {attempt} {draw}"
            level = levels[draw % len(levels)] * (1 if harder else -1)
            drawn, _ = drawn_entry(entry["kind"], about(lead), world, order, number, texts, scope, level)
            if drawn:
                made.append(drawn)
        return made

    return remake
