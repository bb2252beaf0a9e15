from __future__ import annotations

import pytest
import torch

from aberra.nets.views import Views

STILL = {"scale": 1.0, "rotation": 0.0, "gain": 0.0, "noise": 0.0}


def _seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def _views(**options):
    return Views(**(STILL | options))


def _blob(count, size=(32, 48)):
    """A bright square off the middle of each of ``count`` images."""
    x = torch.zeros(count, 1, *size)
    x[..., 8:12, 8:16] = 1.0
    return x


def test_without_changes_a_view_is_the_image_or_one_of_its_mirror_images():
    x = torch.rand(16, 2, 6, 8)
    found = _views()(x, _seeded())
    kinds = set()
    for image, view in zip(x, found, strict=True):
        mirrored = {axes: image.flip(axes) for axes in [(), (1,), (2,), (1, 2)]}
        kinds |= {axes for axes, each in mirrored.items() if torch.allclose(view, each, atol=1e-5)}
    assert kinds == {(), (1,), (2,), (1, 2)}


def test_views_of_volumes_are_mirrored_along_three_axes():
    x = torch.rand(64, 1, 4, 6, 8)
    found = _views()(x, _seeded())
    same = [torch.allclose(view, image, atol=1e-5) for view, image in zip(found, x, strict=True)]
    assert 0 < sum(same) < 24
    whole = _views(scale=0.7, rotation=20.0, gain=0.2, noise=0.1)(x, _seeded())
    assert whole.shape == x.shape
    assert whole.isfinite().all()


def test_a_crop_enlarges_what_it_shows():
    x = _blob(64)
    area = _views(scale=0.5)(x, _seeded()).flatten(1).sum(dim=1)
    assert area.max() > 2 * x[0].sum()
    assert area.min() < x[0].sum() / 2  # out of sight
    assert area.max() < 4.2 * x[0].sum()


def test_a_rotation_keeps_shapes_on_images_that_are_not_square():
    x = torch.zeros(64, 1, 32, 64)
    x[..., 14:18, 30:34] = 1.0
    found = _views(rotation=90.0)(x, _seeded())
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), x.sum(dim=(1, 2, 3)), rtol=0.08, atol=0)
    bar = torch.zeros(64, 1, 32, 64)
    bar[..., 15:17, 22:42] = 1.0
    turned = _views(rotation=90.0)(bar, _seeded())
    assert (turned[..., :10, :].sum(dim=(1, 2, 3)) > 2).any()  # upright: as long as it was


def test_brightness_is_multiplied_and_noise_is_added_image_by_image():
    x = torch.ones(200, 1, 8, 8)
    levels = _views(gain=0.3)(x, _seeded()).flatten(1)
    torch.testing.assert_close(levels.std(dim=1), torch.zeros(200), atol=1e-6, rtol=0)
    assert levels.min() == pytest.approx(0.7, abs=0.02)
    assert levels.max() == pytest.approx(1.3, abs=0.02)
    spread = _views(noise=0.2)(x, _seeded()).flatten(1).std(dim=1)
    assert 0 <= spread.min() < 0.02
    assert 0.17 < spread.max() < 0.26


def test_a_view_depends_on_the_generator_alone():
    x, views = torch.rand(4, 1, 16, 16), _views(scale=0.6, rotation=15.0, gain=0.3, noise=0.1)
    assert torch.equal(views(x, _seeded()), views(x, _seeded()))
    assert not torch.allclose(views(x, _seeded()), views(x, _seeded(1)))
