"""What tests of the triage server share; without the extra ``server`` they are left out."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi", reason="the extra 'server' is not installed")

from argon2 import PasswordHasher

import small_scans
from aberra.cohort import Cohort
from aberra.server import accounts
from triage import MODEL, Parts


@pytest.fixture(scope="session", autouse=True)
def _quick_passwords():
    """Hashes that cost little: what they cost is argon2's business."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield


@pytest.fixture(scope="session")
def detector(tmp_path_factory):
    """Folder of a calibrated detector by brightness."""
    folder = tmp_path_factory.mktemp("detector")
    made = small_scans.detector("intensity", small_scans.cohort(folder, cases=20), folder / "fit")
    made.calibrate(Cohort.read(folder / "manifest.csv"), out=folder / MODEL)
    return folder / MODEL


@pytest.fixture
def server(tmp_path, detector):
    """A server's parts, with an admin and two readers."""
    made = Parts(tmp_path / "data", detector)
    yield made
    made.database.close()
