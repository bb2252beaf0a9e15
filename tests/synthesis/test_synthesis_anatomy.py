from __future__ import annotations

import numpy as np
import pytest
from label_maps import DLMUSE, FREESURFER, RIGHT, renumbered, structures, write

from aberra.errors import ConfigError, InputError
from aberra.synthesis import anatomy as a
from aberra.synthesis.anatomy import TABLES, Anatomy


def test_one_head_in_three_numberings_and_two_orientations_is_one_anatomy(tmp_path):
    numbers = structures()
    reference = Anatomy.read(write(tmp_path / "ours.nii.gz", numbers))
    freesurfer = renumbered(numbers, FREESURFER, RIGHT)
    for name, labels, table in (
        ("freesurfer", freesurfer, "freesurfer"),
        ("auto", freesurfer, "auto"),
        ("ours", numbers, "aberra"),
    ):
        for flipped in (False, True):
            found = Anatomy.read(write(tmp_path / f"{name}.nii.gz", labels, flipped=flipped), table=table)
            np.testing.assert_array_equal(found.labels, reference.labels)
            assert found.spacing == (3.0, 3.0, 3.0)
    muse = Anatomy.read(write(tmp_path / "muse.nii.gz", renumbered(numbers, DLMUSE)))
    # MUSE has no plexus and no skull
    np.testing.assert_array_equal(muse.brain, reference.brain)
    differs = muse.labels != reference.labels
    assert set(np.unique(reference.labels[differs])) <= {a.PLEXUS, a.SKULL}


def test_axes_run_up_back_and_left(tmp_path):
    numbers = structures()
    numbers[30:33, 40:43, 45:48] = 7  # right, anterior, superior of the middle (27.5)
    found = Anatomy.read(write(tmp_path / "head.nii.gz", numbers)).labels
    place = np.argwhere(found == a.BRAINSTEM).mean(axis=0) - np.argwhere(found == a.SKULL).mean(axis=0)
    assert place[0] > 10
    assert place[1] < -8
    assert place[2] < -1


def test_lesions_of_the_source_become_white_matter_and_holes_are_closed(tmp_path):
    numbers = structures()
    where = (slice(26, 30), slice(14, 18), slice(26, 30))
    assert (numbers[where] == 2).all()
    numbers[where] = 14
    vessel = (27, slice(48, 49), 27)
    numbers[vessel] = 0
    found = Anatomy.read(write(tmp_path / "head.nii.gz", numbers))
    clean = structures()
    clean[vessel] = 4
    np.testing.assert_array_equal(found.labels, Anatomy.read(write(tmp_path / "clean.nii.gz", clean)).labels)


def test_insula_and_capsule_are_told_apart_where_they_lie(tmp_path):
    found = Anatomy.read(write(tmp_path / "head.nii.gz", structures()))
    assert (found.labels == a.CAPSULE).any()
    near = np.argwhere(found.labels == a.CAPSULE) - np.array(found.labels.shape) / 2
    assert (np.abs(near[:, 2]) * 3 < 45).all()  # between thalamus and putamen, not at the surface


@pytest.mark.parametrize(
    ("name", "labels"),
    [("image", np.random.default_rng(0).random((8, 8, 8))), ("other", np.full((8, 8, 8), 7))],
)
def test_what_is_no_known_label_map_is_refused_by_name(name, labels, tmp_path):
    with pytest.raises(InputError, match=name):
        Anatomy.read(write(tmp_path / f"{name}.nii.gz", labels.astype(np.float32)))


def test_an_unknown_table_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="freesurfer"):
        Anatomy.read(write(tmp_path / "head.nii.gz", structures()), table="freesurfr")


def test_every_table_has_the_brains_main_structures():
    for table in TABLES.values():
        assert set(range(1, 14)) <= set(table.values())
