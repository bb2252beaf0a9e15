from __future__ import annotations

import numpy as np
import pytest
from label_maps import structures, write

from aberra.prepare.brain_net import BRIGHTEST, SIZE
from aberra.synthesis.whole import WholeHeads


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    return WholeHeads(anatomies=(str(write(folder / "one.nii.gz", structures(56))),), images=2)


def test_a_block_depends_on_its_number_alone(heads):
    first, again, other = heads.block(3), heads.block(3), heads.block(4)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
        assert one.shape == (heads.samples, 1, *SIZE)
    assert (first[0] != other[0]).any()


def test_brain_is_the_truth_and_what_is_around_it_is_shown(heads):
    x, everywhere, brain = heads.block(0)
    assert everywhere.all()
    assert np.isfinite(x).all()
    assert 0 <= x.min() <= x.max() <= BRIGHTEST ** np.exp(0.3) + 0.1
    assert set(np.unique(brain)) == {0, 1}
    for image, inside in zip(x, brain, strict=True):
        assert (image[inside == 0] > 0.05).any()
