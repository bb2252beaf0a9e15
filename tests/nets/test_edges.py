from __future__ import annotations

import pytest
import torch

from aberra.nets.edges import soft_canny


def _step(at=8, height=1.0, size=(16, 16), axis=-1):
    x = torch.zeros(1, 1, *size)
    x.narrow(axis, at, x.shape[axis] - at).fill_(height)
    return x


@pytest.mark.parametrize("size", [(16, 16), (8, 16, 12)])
def test_a_constant_image_has_no_edges(size):
    x = torch.full((2, 3, *size), 0.7)
    assert not soft_canny(x, sigma=1.0, threshold=0.1).any()


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("sigma", [0.0, 1.0, 2.0])
def test_the_edge_of_a_step_is_at_the_step_and_nowhere_else(sigma, axis):
    found = soft_canny(_step(axis=axis), sigma=sigma, threshold=0.01).movedim(axis, -1)[0, 0]
    assert (found[:, 7:9] > 0.5).all()  # the two pixels that it lies between
    assert not found[:, :7].any()
    assert not found[:, 9:].any()


def test_in_three_dimensions_and_channel_by_channel():
    x = torch.cat([_step(4, size=(8, 12, 10), axis=2), _step(6, size=(8, 12, 10), axis=3)], dim=1)
    found = soft_canny(x, sigma=0.5, threshold=0.01)
    assert found[0, 0].amax(dim=(1, 2)).nonzero().flatten().tolist() == [3, 4]
    assert found[0, 1].amax(dim=(0, 2)).nonzero().flatten().tolist() == [5, 6]


def test_an_oblique_edge_is_thin():
    row, column = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    found = soft_canny((row > column).float()[None, None], sigma=1.5, threshold=0.01)[0, 0]
    distance = (row - column).abs()[4:-4, 4:-4]
    assert (found[4:-4, 4:-4][distance <= 1].amax()) > 0.9
    assert not found[4:-4, 4:-4][distance > 2].any()


def test_the_threshold_is_where_an_edge_counts_half():
    """Slope of a step between two pixels, unsmoothed: half of its height."""
    found = soft_canny(_step(height=0.4), sigma=0.0, threshold=0.2)
    torch.testing.assert_close(found[0, 0, :, 7:9], torch.full((16, 2), 0.5))


def test_the_gradient_pulls_an_edge_towards_the_one_that_is_missing():
    x = torch.nn.Parameter(_step(height=0.2))
    wanted = soft_canny(_step(height=0.8), sigma=1.0, threshold=0.2)
    (wanted - soft_canny(x, sigma=1.0, threshold=0.2)).abs().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad[..., 4:12, 9] < 0).all()  # brighter on the bright side
    assert (x.grad[..., 4:12, 6] > 0).all()


def test_images_of_a_batch_do_not_see_each_other():
    x = torch.rand(3, 1, 16, 16)
    found = soft_canny(x, sigma=1.0, threshold=0.1)
    torch.testing.assert_close(soft_canny(x[1:2], sigma=1.0, threshold=0.1), found[1:2])
