"""Verifiers: what turns a trajectory into a reward. One file per way of judging."""
