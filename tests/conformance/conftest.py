"""A tiny phantom cohort and every catalogue entry fitted on it, once a session."""

from __future__ import annotations

import pytest
from tiny_methods import tiny

from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.files import config_hash
from aberra.method import SUPERVISED, Method
from aberra.synthesis import write_cohort

SMALL = {"contrast": "flair", "spacing": 6.0, "workers": 1, "progress": False}


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """Ten healthy FLAIR phantoms at 6 mm to learn from, and four unseen ones."""
    folder = tmp_path_factory.mktemp("phantoms")
    healthy = write_cohort(folder / "healthy", cases=10, lesions=0.0, seed=1, **SMALL)
    unseen = write_cohort(folder / "unseen", cases=4, lesions=0.0, seed=2, **SMALL)
    return Cohort.read(healthy), Cohort.read(unseen)


@pytest.fixture(scope="session")
def diseased(tmp_path_factory):
    """Twenty-four phantoms of the same kind, two thirds with one large bright ellipsoid, for methods that learn from them."""
    folder = tmp_path_factory.mktemp("diseased")
    manifest = write_cohort(
        folder, cases=24, lesions=0.7, seed=1, sources=("hyper",), shapes=("ellipsoid",), radius_mm=(12.0, 20.0), count=(1, 1),
        **SMALL,
    )  # fmt: skip
    return Cohort.read(manifest)


@pytest.fixture(scope="session")
def lessons(cohort, request):
    """Return a function: catalogue name to the cohort that it learns from."""

    def choose(name: str) -> Cohort:
        return (
            request.getfixturevalue("diseased") if Method.load(name).learns_from in SUPERVISED else cohort[0]
        )

    return choose


@pytest.fixture(scope="session")
def fitted(lessons, tmp_path_factory):
    """Return a function: catalogue name to fitted detector, each made once; those that learn the same share the weights."""
    made, learnt = {}, {}

    def fit(name: str) -> Detector:
        if name in made:
            return made[name]
        method, out = tiny(name), tmp_path_factory.mktemp(name) / "model"
        key = config_hash(method.learnt)
        if key in learnt:
            detector = Detector.load(learnt[key]).calibrate(lessons(name), method=method, out=out)
        else:
            detector = Detector.fit(method, lessons(name), out=out, workers=1)
            learnt[key] = out
        made[name] = detector
        return detector

    return fit
