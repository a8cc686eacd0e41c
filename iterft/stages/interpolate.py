"""Part of the way from one checkpoint to another: what keeps iterations from swinging.

An update mends what the policy gets wrong at the moment, overshoots (calls too seldom where it called too often), and
the next one overshoots back; in the middle both kinds of samples are right. So from the second iteration on only a
share of an update is kept: an exponential moving average of checkpoints, the linear interpolation towards the initial
policy of WARP, arXiv 2406.16768. Of adapters both factors are averaged: for small steps the product follows.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from iterft.types import Checkpoint

WEIGHTS = "*.safetensors"


def go_part_of_the_way(start: Checkpoint, end: Path, share: float, out: Path) -> Checkpoint:
    """`end`, a checkpoint's folder, becomes `out`, its weights start + `share` x (end - start) in float32; where
    `start` is the untouched base, they stay as they are. Until `out` is there, whole, `end` stays."""
    if start.path is None or share == 1:
        end.replace(out)
        return Checkpoint(out)
    temporary = out.with_name(out.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(end, temporary, ignore=shutil.ignore_patterns(WEIGHTS))
    for file in sorted(end.glob(WEIGHTS)):
        mix(start.path / file.name, file, share, temporary / file.name)
    temporary.replace(out)
    return Checkpoint(out)


def mix(start: Path, end: Path, share: float, out: Path) -> None:
    before, after = load_file(start), load_file(end)
    with safe_open(end, "pt") as opened:
        metadata = opened.metadata()
    mixed = {name: before[name].float().lerp(tensor.float(), share).to(tensor.dtype) for name, tensor in after.items()}
    save_file(mixed, out, metadata)
