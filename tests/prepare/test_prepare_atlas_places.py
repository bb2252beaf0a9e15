from __future__ import annotations

import numpy as np
import pytest

from aberra.prepare import atlas_places
from aberra.prepare.atlas_places import places_of
from aberra.volume import Volume

SCAN = Volume(data=np.ones((1, 4, 4, 4)), affine=np.eye(4))
TO_SCAN = np.array([[1.1, 0, 0, 20], [0, 0.9, 0, -30], [0, 0, 1.2, 40], [0, 0, 0, 1]])
"""From atlas to scan mm, as a registration finds it."""


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ((28, -20, 30), "right white matter"),  # centrum semiovale
        ((-28, -20, 30), "left white matter"),
        ((12, 8, 10), "right grey matter"),  # head of the caudate
        ((0, -20, 4), "midline grey matter"),
        ((0, 120, 0), "outside the brain"),
        ((400, 0, 0), "outside the brain"),
    ],
)
def test_places_are_named_in_the_atlas_and_not_by_the_scans_millimetres(monkeypatch, place, name):
    monkeypatch.setattr(atlas_places, "locate", lambda _: (TO_SCAN, {}, ""))
    point = (TO_SCAN @ [*place, 1.0])[:3]
    assert places_of(SCAN, [point]) == ([name], "")


def test_where_registration_fails_nothing_is_named(monkeypatch):
    monkeypatch.setattr(atlas_places, "locate", lambda _: (np.eye(4), {}, "the brain masks overlap by 0.10"))
    assert places_of(SCAN, [(28, -20, 30)]) == ([""], "the brain masks overlap by 0.10")
