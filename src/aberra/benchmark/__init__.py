"""Compares methods fairly: the same cohorts, splits, network size, post-processing, seeds and tests
for all of them.
"""

from aberra.benchmark.runner import run
from aberra.benchmark.suite import Suite

__all__ = ["Suite", "run"]
