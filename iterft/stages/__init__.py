"""Implementations of the Stage seam, and what they share: running a TRL trainer on rows of token ids."""
