from __future__ import annotations

import numpy as np
import pytest
import torch

from aberra.errors import ConfigError
from aberra.restore.partial_diffusion import Chain
from aberra.restore.thor import THOR, harmonic_mean
from aberra.volume import Volume
from known_denoiser import SIZE, with_lesion


def test_the_harmonic_mean_lies_below_the_geometric_and_the_arithmetic():
    maps = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + 1e-3
    found = harmonic_mean(maps)
    geometric = maps.log().mean(dim=1, keepdim=True).exp()
    assert (found <= geometric + 1e-6).all()
    assert (geometric <= maps.mean(dim=1, keepdim=True) + 1e-6).all()
    assert (found >= maps.amin(dim=1, keepdim=True) - 1e-6).all()
    torch.testing.assert_close(harmonic_mean(maps[:, :1].expand(-1, 3, -1, -1)), maps[:, :1])


def test_thor_asks_at_the_grid_steps_nearest_to_the_published_ones(brain):
    model, x, _, _ = brain
    _, maps = THOR(steps=50).go(model, x.transpose(0, 1))
    assert maps.shape == (5, 3, SIZE, SIZE)
    assert model.asked == model.schedule.times(50, 350)[:-1]
    assert {301, 147, 49} <= set(model.asked)


def test_thor_keeps_the_scan_where_nothing_is_anomalous(brain):
    """With M = 0 everywhere x₀ stays x, with M = 1 it is x̂₀, and the last step says so."""
    model, x, _, _ = brain
    sick = with_lesion(x)[0].transpose(0, 1)
    options = {"steps": 5, "start": 50, "harmonise": [10], "sampler": "ddim"}
    kept, _ = THOR(**options, scale=1e6).go(model, sick)
    assert (kept - sick).abs().max() < 1e-6
    free, _ = THOR(**options, scale=1e-12).go(model, sick)
    plain = Chain(50, 5, "ddim")(model, sick)
    assert (free - plain).abs().max() < 1e-3
    assert (plain - sick).abs().max() > 0.05


def test_the_region_grows_with_the_size_of_the_image():
    for edge, reach in ((128, 13), (64, 7), (16, 3)):
        spot = torch.zeros(1, 1, edge, edge)
        spot[0, 0, edge // 2, edge // 2] = 1
        found = THOR(scale=1.0).region(spot)
        assert int((found > 0).sum()) == reach**2
        assert float(found.max()) == 1
        assert int((found == 1).sum()) == 1


def test_thor_learns_its_scale_from_healthy_cases(brain):
    model, x, _, run = brain
    rng = np.random.default_rng(0)
    data = (x.numpy() + 0.05 * rng.standard_normal(x.shape)).astype(np.float32)
    volumes = [Volume(data=data, affine=np.eye(4))]
    restore = THOR(steps=7)
    found = restore.tune(model, iter(volumes), run)
    maps = restore.go(model, x.new_tensor(data).transpose(0, 1))[1].amax(dim=1)
    assert found["scale"] == pytest.approx(float(maps.quantile(0.999)), rel=0.3)
    assert restore.scale is None  # nothing is changed in place
    assert THOR(scale=0.1).tune(model, iter(volumes), run) == {}
    assert THOR().tune(model, iter([]), run) == {}


def test_the_harmonic_mean_of_its_maps_is_the_evidence(brain):
    model, x, _, _ = brain
    sick = with_lesion(x)[0].transpose(0, 1)
    restore = THOR(steps=14, scale=1e-3)
    image, maps = restore.go(model, sick)
    (found,) = restore(model, sick)
    torch.testing.assert_close(found.image, image)
    torch.testing.assert_close(found.evidence, harmonic_mean(maps))


@pytest.mark.parametrize("options", [{"harmonise": []}, {"harmonise": [400]}, {"reach": 12}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigError):
        THOR(**options)
