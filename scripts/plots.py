"""The file of a script's `--plot`. No script of its own."""

from __future__ import annotations

from argparse import ArgumentTypeError
from importlib.util import find_spec
from pathlib import Path


def plot_file(name: str) -> Path:
    """A type for argparse: what cannot be drawn is refused before hours of work, not after."""
    if not find_spec("matplotlib"):
        raise ArgumentTypeError("drawing needs matplotlib: pip install matplotlib")
    if not Path(name).parent.is_dir():
        raise ArgumentTypeError(f"there is no folder {Path(name).parent}")
    return Path(name)
