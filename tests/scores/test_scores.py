from __future__ import annotations

import pytest
import torch

from aberra.detector.windows import Runner
from aberra.errors import ConfigError, PairingError
from aberra.models.constant import Constant
from aberra.models.dae import DAE
from aberra.scores import check_pairing
from aberra.scores.direct import Direct
from aberra.scores.residual import Residual


class Copies:
    """Reconstructs its input plus a constant."""

    def __init__(self, offset=0.0):
        self.offset = offset

    def reconstruct(self, x):
        return x + self.offset


@pytest.fixture
def scan():
    torch.manual_seed(0)
    mask = torch.zeros(3, 8, 8, dtype=torch.bool)
    mask[:, 2:7, 2:7] = True
    return torch.rand(2, 3, 8, 8), mask


@pytest.mark.parametrize("mode", Residual.MODES)
@pytest.mark.parametrize("options", [{}, {"smooth": 1.0}, {"centre": True}])
def test_maps_are_non_negative_and_zero_outside_the_mask(mode, options, scan):
    x, mask = scan
    torch.manual_seed(1)
    model = DAE(channels=2, size=(8, 8), width=4, depth=1).eval()
    scored = Residual(mode=mode, **options)(model, x, mask, Runner(dims=2, size=(8, 8)))
    assert scored.map.shape == mask.shape
    assert scored.reconstruction.shape == x.shape
    assert (scored.map >= 0).all()
    assert not scored.map[~mask].any()
    assert not scored.reconstruction[:, ~mask].any()


def test_channels_are_averaged(scan):
    x, mask = scan
    run = Runner(dims=2, size=(8, 8))
    both = Residual()(Copies(0.5), x, mask, run).map
    each = [Residual()(Copies(0.5), x[c : c + 1], mask, run).map for c in range(2)]
    torch.testing.assert_close(both, sum(each) / 2)


def test_centring_takes_a_brain_that_is_brighter_as_a_whole_for_healthy(scan):
    x, mask = scan
    run = Runner(dims=2, size=(8, 8))
    assert Residual()(Copies(0.3), x, mask, run).map[mask].min() > 0.29
    assert Residual(centre=True)(Copies(0.3), x, mask, run).map.max() < 1e-6


def test_smoothing_stays_within_slices_in_2d(scan):
    x, mask = scan
    mask = torch.ones_like(mask)

    class Spike:
        def reconstruct(self, batch):
            return torch.zeros_like(batch)

    spike = torch.zeros_like(x)
    spike[:, 1, 4, 4] = 1
    flat = Residual(smooth=1.0)(Spike(), spike, mask, Runner(dims=2, size=(8, 8))).map
    deep = Residual(smooth=1.0)(Spike(), spike, mask, Runner(dims=3, size=(3, 8, 8))).map
    assert not flat[0].any()
    assert not flat[2].any()
    assert deep[0].any()


def test_an_empty_mask_gives_an_empty_map(scan):
    x, mask = scan
    scored = Residual(centre=True)(Copies(), x, torch.zeros_like(mask), Runner(dims=2, size=(8, 8)))
    assert not scored.map.any()


def test_direct_takes_the_models_own_scores(scan):
    x, mask = scan
    scored = Direct()(Constant(), x, mask, Runner(dims=2, size=(8, 8)))
    torch.testing.assert_close(scored.map, mask.float())
    assert scored.reconstruction is None


def test_options_and_pairings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="Did you mean 'positive'"):
        Residual(mode="postive")
    with pytest.raises(ConfigError, match="smooth"):
        Residual(smooth=-1)
    with pytest.raises(
        PairingError, match=r"'Residual' needs Reconstructs.*'Constant'.*ae, .*dae, .*vae, vqvae"
    ):
        check_pairing(Constant, Residual())
    check_pairing(DAE, Residual())
