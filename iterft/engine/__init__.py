"""Torch only: tokens in, numbers out. Knows nothing of tools."""
