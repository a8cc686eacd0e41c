"""Implementations of the Policy seam."""
