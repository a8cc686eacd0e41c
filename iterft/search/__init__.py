"""Monte Carlo tree search over tool-call steps."""

from iterft.search.mcts import lay_out, search

__all__ = ["lay_out", "search"]
