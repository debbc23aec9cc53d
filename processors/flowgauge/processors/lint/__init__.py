"""Lint: what is written without mistakes and yet does not do what its author wants. `checks` names them all."""

from flowgauge.processors.lint.checks import CHECKS, lint
from flowgauge.processors.lint.placed_rule import Finding

__all__ = ["CHECKS", "Finding", "lint"]
