"""Evaluations: how good a policy is on samples that it is never trained on. One file per benchmark."""
