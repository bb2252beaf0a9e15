"""Cohorts: manifests, splits, fingerprints, and a doctor for files that do not fit."""

from aberra.cohort.manifest import Case, Cohort

__all__ = ["Case", "Cohort"]
