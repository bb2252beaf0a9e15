"""Cohorts: manifests, splits, fingerprints, and a doctor for files that do not fit."""

from aberra.cohort.case import Case
from aberra.cohort.manifest import Cohort

__all__ = ["Case", "Cohort"]
