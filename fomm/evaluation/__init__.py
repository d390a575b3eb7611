"""Measure how good weights are, on clips that they were not trained on, and how good a single result is."""

from fomm.evaluation.score import score

__all__ = ["score"]
