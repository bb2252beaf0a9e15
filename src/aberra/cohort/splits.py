"""Splits by patient: the same patient is never on two sides."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from aberra.cohort.manifest import Cohort
from aberra.errors import ConfigError
from aberra.files import config_hash

if TYPE_CHECKING:
    from collections.abc import Mapping


def split_by_patient(cohort: Cohort, fractions: Mapping[str, float], *, seed: int = 0) -> Cohort:
    """Assign every patient to a split.

    Patients are ordered by a hash of seed and name and cut by the fractions, so the order of rows
    does not matter, every split gets a patient where there are enough, and a new patient moves no
    other except one at each cut.

    Args:
        cohort: any splits it has are replaced.
        fractions: split name to share; they sum to 1.
        seed: another seed gives another split.

    Raises:
        ConfigError: the fractions are not positive numbers that sum to 1.
    """
    if min(fractions.values(), default=0) <= 0 or abs(sum(fractions.values()) - 1) > 1e-9:
        raise ConfigError(f"split fractions {dict(fractions)} are not positive numbers that sum to 1")
    patients = sorted(
        {case.patient for case in cohort}, key=lambda name: sha256(f"{seed}:{name}".encode()).digest()
    )
    target: dict[str, str] = {}
    done, total = 0, 0.0
    for position, (split, fraction) in enumerate(fractions.items()):
        total += fraction
        left = len(fractions) - position - 1
        end = (
            len(patients)
            if not left
            else min(max(round(total * len(patients)), done + 1), max(len(patients) - left, 1))
        )
        target |= dict.fromkeys(patients[done:end], split)
        done = max(done, end)
    return Cohort((replace(case, split=target[case.patient]) for case in cohort), cohort.source)


def split_hash(cohort: Cohort) -> str:
    """Hash of who is in which split."""
    return config_hash(sorted((case.patient, case.case, case.split or "") for case in cohort))
