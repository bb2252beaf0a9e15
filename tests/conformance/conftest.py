"""A tiny phantom cohort and every catalogue entry fitted on it, once a session."""

from __future__ import annotations

import pytest
from tiny_methods import tiny

from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.synthesis import write_cohort


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """Ten healthy FLAIR phantoms at 6 mm to learn from, and four unseen ones."""
    folder = tmp_path_factory.mktemp("phantoms")
    healthy = write_cohort(
        folder / "healthy", cases=10, lesions=0.0, contrast="flair", spacing=6.0, seed=1, progress=False
    )
    unseen = write_cohort(
        folder / "unseen", cases=4, lesions=0.0, contrast="flair", spacing=6.0, seed=2, progress=False
    )
    return Cohort.read(healthy), Cohort.read(unseen)


@pytest.fixture(scope="session")
def fitted(cohort, tmp_path_factory):
    """Return a function: catalogue name to fitted detector, each made once."""
    made = {}

    def fit(name: str) -> Detector:
        if name not in made:
            made[name] = Detector.fit(
                tiny(name), cohort[0], out=tmp_path_factory.mktemp(name) / "model", workers=1
            )
        return made[name]

    return fit
