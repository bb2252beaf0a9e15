from __future__ import annotations

import pytest
import torch
from torch import nn

from aberra.batch import Batch
from aberra.detector.windows import Runner
from aberra.errors import ConfigError
from aberra.models.scale_space_ae import ScaleSpaceAE
from aberra.models.vae import VAE
from aberra.nets.pyramid import expand, gaussian_pyramid
from aberra.scores import PairingError, check_pairing
from aberra.scores.multi_scale import MultiScale


def _model(**options):
    torch.manual_seed(0)
    return ScaleSpaceAE(**({"channels": 1, "size": (32, 32), "width": 4, "levels": 2} | options)).eval()


def _conv(i, o, k):
    return i * o * k * k + o


def test_the_default_network_counted_by_hand():
    """Bands of 128, 64, 32 and 16 pixels are halved 5, 4, 3 and 2 times, to 4."""

    def band(down):
        up = [*down[::-1][1:], 32]
        count = sum(_conv(i, o, 3) + 2 * o for i, o in zip([1, *down], down, strict=False))
        count += sum(_conv(i, o, 3) + 2 * o for i, o in zip(down[::-1], up, strict=True))
        return count + _conv(down[-1], 4, 1) + _conv(4, down[-1], 1) + _conv(32, 1, 1)

    filters = [32, 64, 128, 128, 128]
    expected = sum(band(filters[:depth]) for depth in (5, 4, 3, 2))
    model = ScaleSpaceAE(channels=1, size=(128, 128))
    assert sum(weight.numel() for weight in model.parameters()) == expected == 1_522_708


@pytest.mark.parametrize(("dims", "size"), [(2, (32, 48)), (3, (16, 32, 16))])
def test_shapes_of_all_levels(dims, size):
    model = _model(channels=2, dims=dims, size=size)
    x = torch.rand(2, 2, *size)
    for level, (image, restored) in enumerate(model.reconstruct_levels(x)):
        assert image.shape == restored.shape == (2, 2, *(edge // 2**level for edge in size))
    assert model.reconstruct(x).shape == x.shape


def test_bands_that_copy_give_the_image_back_and_no_loss():
    model, x = _model(levels=3), torch.rand(2, 1, 32, 32)
    model.bands = nn.ModuleList(nn.Identity() for _ in model.bands)
    torch.testing.assert_close(model.reconstruct(x), x)
    assert model.loss(Batch(x, x, torch.Generator()))["loss"] < 1e-3


def test_each_level_is_the_expanded_coarser_one_plus_its_own_band():
    model, x = _model(), torch.rand(1, 1, 32, 32)
    images = gaussian_pyramid(x, 2)
    levels = model.reconstruct_levels(x)
    torch.testing.assert_close(levels[2][1], model.bands[2](images[2]))
    band = model.bands[0](images[0] - expand(images[1]))
    torch.testing.assert_close(levels[0][1], expand(levels[1][1]) + band)


def test_the_loss_is_the_summed_absolute_error_of_all_levels():
    model, x = _model(), torch.rand(3, 1, 32, 32)
    losses = model.loss(Batch(x, x, torch.Generator()))
    errors = [(image - restored).abs().sum() / 3 for image, restored in model.reconstruct_levels(x)]
    torch.testing.assert_close(losses["loss"], sum(errors))
    torch.testing.assert_close(losses["reconstruction"], errors[0])


def test_levels_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="divisible by 8"):
        _model(size=(36, 36))
    with pytest.raises(ConfigError, match=r"levels=0.*1 or more"):
        _model(levels=0)
    with pytest.raises(ConfigError, match="divisible by 64"):
        _model(levels=5)


class Levels:
    """Two levels with residuals of 1 and 3 in one channel, and of the opposite sign in the other."""

    def reconstruct_levels(self, x):
        sign = torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1)
        coarse = torch.zeros(len(x), 2, 4, 4)
        return [(x, x - sign), (coarse, coarse - 3 * sign)]


@pytest.mark.parametrize(("aggregate", "expected"), [("mean", 2.0), ("max", 3.0)])
@pytest.mark.parametrize(("mode", "share"), [("absolute", 1.0), ("positive", 0.5), ("negative", 0.5)])
def test_levels_are_combined_at_full_resolution(aggregate, expected, mode, share):
    x, mask = torch.rand(2, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.bool)
    mask[:, 2:6, 2:6] = True
    run = Runner(dims=2, size=(8, 8))
    scored = MultiScale(aggregate=aggregate, mode=mode)(Levels(), x, mask, run).inside(mask)
    torch.testing.assert_close(scored.map, expected * share * mask)
    torch.testing.assert_close(
        scored.reconstruction, (x - torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)) * mask
    )


def test_a_coarse_residual_stays_where_it_is():
    class Spot:
        def reconstruct_levels(self, x):
            images = gaussian_pyramid(x, 2)
            residual = torch.zeros_like(images[2])
            residual[..., 4, 3] = 1
            return [(image, image) for image in images[:2]] + [(images[2], images[2] - residual)]

    x, mask = torch.zeros(1, 1, 32, 32), torch.ones(1, 32, 32, dtype=torch.bool)
    found = MultiScale(aggregate="max")(Spot(), x, mask, Runner(dims=2, size=(32, 32))).map[0]
    assert divmod(int(found.argmax()), 32) == (16, 12)


def test_options_and_pairings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="Did you mean 'max'"):
        MultiScale(aggregate="mx")
    with pytest.raises(ConfigError, match="positive"):
        MultiScale(mode="postive")
    with pytest.raises(PairingError, match=r"ReconstructsLevels.*'VAE'.*scale-space-ae"):
        check_pairing(VAE, MultiScale())
    check_pairing(ScaleSpaceAE, MultiScale())
