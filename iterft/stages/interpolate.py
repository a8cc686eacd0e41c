"""Part of the way from one checkpoint to another: what keeps iterations from swinging.

An update mends what the policy gets wrong at the moment, overshoots (calls too seldom where it called too often), and
the next one overshoots back; in the middle both kinds of samples are right. So from the second iteration on only a
share of an update is kept: an exponential moving average of checkpoints, the linear interpolation towards the initial
policy of WARP, arXiv 2406.16768. Of adapters both factors are averaged: for small steps the product follows.
"""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from iterft.types import Checkpoint


def go_part_of_the_way(start: Checkpoint, end: Checkpoint, share: float) -> Checkpoint:
    """`end`, its files rewritten to start + `share` x (end - start), computed in float32. Where `start` is the
    untouched base, `end` stays as it is."""
    if start.path is None or end.path is None or share == 1:
        return end
    for file in sorted(end.path.glob("*.safetensors")):
        rewrite(start.path / file.name, file, share)
    return end


def rewrite(start: Path, end: Path, share: float) -> None:
    before, after = load_file(start), load_file(end)
    with safe_open(end, "pt") as opened:
        metadata = opened.metadata()
    mixed = {name: before[name].float().lerp(tensor.float(), share).to(tensor.dtype) for name, tensor in after.items()}
    temporary = end.with_name(end.name + ".tmp")
    save_file(mixed, temporary, metadata)
    temporary.replace(end)
