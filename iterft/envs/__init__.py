"""Implementations of the Environment seam."""
