"""The decoder that a model gets: the one that shares prefixes, where the model can (`fitness`), else the plain one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from iterft.engine.generate import PrefixDecoder
from iterft.engine.plain import PlainDecoder

Decoder = PrefixDecoder | PlainDecoder


def decoder_of(
    model: Any,
    stop_id: int,
    kv_cache_gib: float,
    max_rows: int,
    *,
    share_prefixes: bool,
    other_stops: Iterable[int] = (),
) -> Decoder:
    """`kv_cache_gib`: memory for the KV of prefixes, in GiB. `max_rows`: rows that are decoded side by side.
    `other_stops`: ids that end a row as `stop_id` does."""
    if share_prefixes:
        return PrefixDecoder(model, stop_id, int(kv_cache_gib * 1024**3), max_rows, other_stops)
    return PlainDecoder(model, stop_id, max_rows, other_stops)
