"""iterft: train language models to call tools, by iterated preference optimization.

Importing this package loads no torch; `Iterator` and `Recipe` arrive on first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iterft.loop import Iterator
    from iterft.recipe import Recipe

__version__ = "0.1.0"
__all__ = ["Iterator", "Recipe"]


def __getattr__(name: str) -> Any:
    if name == "Recipe":
        from iterft.recipe import Recipe

        return Recipe
    if name == "Iterator":
        from iterft.loop import Iterator

        return Iterator
    raise AttributeError(f"module 'iterft' has no attribute {name!r}")
