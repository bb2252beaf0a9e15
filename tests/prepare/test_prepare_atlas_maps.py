from __future__ import annotations

import numpy as np
import pytest

from aberra.prepare import register
from aberra.prepare.atlas_maps import NAMES, AtlasMaps
from aberra.prepare.normalise import Normalise
from aberra.synthesis import draw_phantom, render


@pytest.fixture(scope="module")
def brain():
    return render(draw_phantom(3, 0, "t1"), 4.0)


def test_maps_lie_where_the_tissue_is_and_the_scan_stays(brain):
    mapped = AtlasMaps()(brain)

    assert mapped.channels == ("t1", *NAMES)
    np.testing.assert_array_equal(mapped.data[0], brain.data[0])
    np.testing.assert_array_equal(mapped.affine, brain.affine)
    assert mapped.provenance["registration"]["ok"]
    white = mapped.data[3]
    inside = np.asarray(brain.mask)
    assert not mapped.data[1:, ~inside].any()
    # white matter is what is bright in T1
    assert np.corrcoef(white[inside], brain.data[0][inside])[0, 1] > 0.5


def test_normalised_scans_are_registered_as_well_as_raw_ones(brain):
    normalised = Normalise(method="interdecile")(brain)
    assert normalised.data.min() < 0
    raw, scaled = AtlasMaps()(brain), AtlasMaps()(normalised)

    assert scaled.provenance["registration"]["ok"]
    assert np.abs(raw.data[1:] - scaled.data[1:]).mean() < 0.03


def test_a_registration_that_failed_is_a_warning(brain, monkeypatch):
    away = np.eye(4)
    away[0, 3] = 70
    monkeypatch.setattr(register, "_found", {})
    monkeypatch.setattr(register, "_search", lambda *_: (away, ""))
    (warning,) = AtlasMaps()(brain).provenance["warnings"]
    assert warning.startswith("registration to MNI152 failed")
