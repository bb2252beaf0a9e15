from __future__ import annotations

import numpy as np
import pytest
import torch

from aberra.errors import ConfigError
from aberra.synthesis.planted import Planted
from aberra.training.sampling import Draws


class _Flat:
    """Healthy samples of constant tissue."""

    def __init__(self, *shape):
        self.shape = shape

    def __len__(self):
        return 5

    def draw(self, seed, count):
        del seed
        mask = torch.zeros(count, 1, *self.shape)
        mask[(..., *[slice(4, -4)] * len(self.shape))] = 1
        x = torch.zeros_like(mask)
        x[:, :, 4:6] = -1.0  # some fluid; tissue is 0, as after normalisation
        return x * mask, mask

    def fixed(self, count, seed):
        return self.draw([seed], count)


@pytest.mark.parametrize("shape", [(40, 40), (32, 32, 32)])
@pytest.mark.parametrize(("kind", "value"), [("hyper", 1), ("hypo", 2), ("texture", 3)])
def test_planted_labels_say_what_was_planted(shape, kind, value):
    planted = Planted(
        _Flat(*shape), spacing=(2.0,) * len(shape), sources=(kind,), radius_mm=(5, 9), count=2, healthy=0.0
    )
    assert isinstance(planted, Draws)
    x, mask, labels = planted.draw([0, 1, 0], 4)
    assert set(labels.unique().tolist()) == {0, value}
    assert not labels[mask == 0].any()
    before, _ = _Flat(*shape).draw([0], 4)
    change = (x - before)[labels == value]
    assert change.abs().max() > 0.2
    assert torch.equal(x[mask == 0], before[mask == 0])
    if value != 3:
        assert (change.mean() > 0) == (value == 1)
    again = planted.draw([0, 1, 0], 4)
    assert torch.equal(again[0], x)
    assert torch.equal(planted.fixed(3, 0)[0], planted.fixed(3, 0)[0])


class _Pairs(_Flat):
    """Noise, and other noise as another scan."""

    def draw(self, seed, count):
        x, mask = super().draw(seed, count)
        noise = torch.Generator().manual_seed(len(self.shape))
        x, other = ((x + torch.rand(x.shape, generator=noise)) * mask for _ in range(2))
        return x, mask, other, mask


@pytest.mark.parametrize("shape", [(40, 40), (24, 24, 24)])
@pytest.mark.parametrize("label", ["binary", "weight", "intensity"])
def test_foreign_patches_come_with_their_soft_truth_and_the_image_before(shape, label):
    planted = Planted(
        _Pairs(*shape), spacing=(2.0,) * len(shape), sources=["foreign"], shapes=["box"], blends=["alpha"],
        label=label, edge_mm=(0, 0), factor=(0.4, 0.6), count=1, healthy=0.0, before=True,
    )  # fmt: skip
    assert planted.foreign
    x, mask, truth, before = planted.draw([0, 1, 0], 3)
    _, _, other, _ = _Pairs(*shape).draw([0, 1, 0], 3)
    assert not truth[mask == 0].any()
    if label != "intensity":  # whose median takes off corners
        torch.testing.assert_close(x[truth == 0], before[truth == 0])
    for image in range(3):
        inside = truth[image] > 0
        assert 0 < inside.float().mean() < 0.3
        alpha = ((x - before) / (other - before))[image][inside]
        torch.testing.assert_close(alpha, alpha[:1].expand_as(alpha), atol=1e-3, rtol=0)
        assert 0.4 <= alpha[0] <= 0.6
        if label == "weight":
            torch.testing.assert_close(truth[image][inside], alpha, atol=1e-3, rtol=0)
        elif label == "binary":
            assert (truth[image][inside] == 1).all()
        else:
            assert 0 < truth[image].max() < 1


def test_foreign_tissue_and_ranges_are_checked():
    planted = Planted(_Flat(32, 32), spacing=(2.0, 2.0), sources=["foreign"])
    with pytest.raises(ConfigError, match="another scan"):
        planted.draw([0, 0, 0], 2)
    with pytest.raises(ConfigError, match=r"edges=\[0.4, 0.1\]"):
        Planted(_Flat(32, 32), spacing=(2.0, 2.0), edges=(0.4, 0.1))
    with pytest.raises(ConfigError, match="weight"):
        Planted(_Flat(32, 32), spacing=(2.0, 2.0), label="weigth")


def test_without_radii_lesions_are_as_large_as_boxes():
    planted = Planted(
        _Flat(64, 64), spacing=(2.0, 2.0), sources=["hyper"], shapes=["ellipsoid"], radius_mm=(), edges=(0.2, 0.3),
        count=1, healthy=0.0,
    )  # fmt: skip
    _, _, truth = planted.draw([0, 0, 0], 20)
    radius = (truth > 0).flatten(1).sum(dim=1).div(np.pi).sqrt() * 2.0  # mm; edges of 25.6 to 38.4
    assert 8 < radius.median() < 24


def test_some_samples_stay_healthy():
    planted = Planted(_Flat(32, 32), spacing=(2.0, 2.0), radius_mm=(5, 9), healthy=0.5)
    _, _, labels = planted.draw([0, 0, 0], 60)
    assert 15 < sum(bool(each.any()) for each in labels) < 45
    with pytest.raises(ConfigError, match=r"planted.healthy=1.0: expected a number"):
        Planted(_Flat(32, 32), spacing=(2.0, 2.0), healthy=1.0)
    with pytest.raises(ConfigError, match="hyper"):
        Planted(_Flat(32, 32), spacing=(2.0, 2.0), sources=("hype",))
