"""Monte Carlo tree search over tool-call steps."""

from iterft.search.mcts import search

__all__ = ["search"]
