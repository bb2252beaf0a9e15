from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from label_maps import structures, write

from aberra.errors import ConfigError
from aberra.prepare.atlas_maps import NAMES
from aberra.synthesis.planted import Planted
from aberra.synthesis.source import GAIN, OFFSET, HeadSource, Stream
from aberra.training.sampling import Draws


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    files = tuple(
        write(folder / f"{name}.nii.gz", structures(edge)) for name, edge in (("one", 52), ("two", 56))
    )

    def make(**options):
        given = {
            "contrasts": {"flair": 1.0},
            "profiles": {"ms": 1.0, "healthy": 1.0},
            "size": (32, 32, 32),
            "spacing": 3.0,
            "images": 2,
            "patches": 3,
        }
        return HeadSource(anatomies=files, **given | options)

    return make


def test_a_block_depends_on_seed_and_number_alone(source):
    first, again = source().block(4), source().block(4)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
        assert one.shape == (6, 1, 32, 32, 32)
    for other in (source().block(5), source(seed=1).block(4)):
        assert (other[0] != first[0]).any()


def test_images_are_normalised_as_scans_are_in_use(source):
    for number in range(4):
        volume = source(profiles={"healthy": 1.0}).image(number)
        low, middle, high = np.percentile(volume.data[0][volume.mask], (10, 50, 90))
        assert abs(middle) <= OFFSET + 1e-4
        assert abs(high - low - 1) <= GAIN + 1e-4
        assert not volume.lesion.any()


def test_patches_with_lesions_have_them_near_the_middle(source):
    x, mask, labels = source(profiles={"tumour": 1.0}, on_lesions=1.0).block(0)
    assert all(each.any() for each in labels)
    assert set(np.unique(labels)) <= {0, 1, 2, 3}
    assert (x[~mask] == 0).all()
    assert not (labels[~mask]).any()


def test_a_stream_gives_a_step_the_same_batch_whenever_it_is_asked(source):
    stream = Stream(source(), ahead=0)
    assert isinstance(stream, Draws)
    batches = [stream.draw([0, step, 0], 4) for step in range(3)]
    again = Stream(source(), ahead=0).draw([0, 1, 0], 4)  # half of it lies in the next block
    for one, two in zip(batches[1], again, strict=True):
        torch.testing.assert_close(one, two)
    assert batches[0][0].shape == (4, 1, 32, 32, 32)
    assert not torch.equal(batches[0][0], batches[1][0])


class _Numbers:
    """Blocks of three samples that hold the samples' numbers; they take time to draw."""

    samples = 3

    def block(self, number):
        time.sleep(0.002)
        rows = np.arange(3 * number, 3 * number + 3)[:, None]
        return rows.astype(np.float16), rows > 0, rows.astype(np.uint8)


def test_threads_share_a_stream():
    stream = Stream(_Numbers(), ahead=0)
    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(lambda step: stream.draw([0, step, 0], 2), range(20)))
    assert torch.cat([x for x, *_ in batches]).flatten().tolist() == list(range(40))


def test_drawn_ahead_is_what_is_drawn_here(source):
    stream = Stream(source(), ahead=1)
    try:
        found = stream.draw([0, 0, 0], 3)
    finally:
        stream.close()
    for one, two in zip(found, Stream(source(), ahead=0).draw([0, 0, 0], 3), strict=True):
        torch.testing.assert_close(one, two)


def test_maps_are_further_channels_of_the_same_image(source):
    options = {"profiles": {"tumour": 1.0}, "seed": 3}
    plain, mapped = source(**options).image(0), source(maps=True, **options).image(0)
    np.testing.assert_array_equal(mapped.data[0], plain.data[0])
    assert mapped.channels[1:] == NAMES
    maps = mapped.data[1:]
    assert maps.min() >= 0
    assert maps.sum(axis=0).max() < 1.01
    assert not maps[:, ~plain.mask].any()
    assert maps.any()
    x, mask, _ = source(maps=True, **options).block(0)
    assert x.shape == (6, 4, 32, 32, 32)
    assert mask.shape == (6, 1, 32, 32, 32)


def test_lesions_are_not_planted_into_maps(source):
    stream = Stream(source(profiles={"healthy": 1.0}, maps=True), ahead=0)
    healthy = stream.fixed(4, 0)
    sick = Planted(stream, spacing=(3.0,) * 3, radius_mm=(6.0, 12.0), healthy=0.0).fixed(4, 0)
    torch.testing.assert_close(sick[0][:, 1:], healthy[0][:, 1:])
    assert not torch.equal(sick[0][:, :1], healthy[0][:, :1])
    assert sick[2].any()


def test_wrong_wishes_are_refused(source):
    with pytest.raises(ConfigError, match="label map"):
        HeadSource(anatomies=(), contrasts={"flair": 1}, profiles={"ms": 1})
    with pytest.raises(ConfigError, match="flair"):
        source(contrasts={"flare": 1.0})
    with pytest.raises(ConfigError, match="healthy"):
        source(profiles={"helthy": 1.0})
    with pytest.raises(ConfigError, match="not all 0"):
        source(profiles={"ms": 0.0})
