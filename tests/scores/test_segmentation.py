from __future__ import annotations

import math

import pytest
import torch

from aberra.detector.windows import Runner
from aberra.errors import ConfigError, PairingError
from aberra.models.dae import DAE
from aberra.models.segnet import SegNet
from aberra.scores import check_pairing
from aberra.scores.segmentation import Segmentation, entropy


class Draws:
    """Segments with given constants, one a draw."""

    def __init__(self, *levels):
        self.levels = levels

    def segmentations(self, x, count):
        for draw in range(count):
            yield torch.full_like(x[:, :1], self.levels[draw])


class Unsure(Draws):
    def predicted_variance(self, x):
        return torch.full_like(x[:, :1], 7.0)


@pytest.fixture
def scan():
    mask = torch.zeros(3, 8, 8, dtype=torch.bool)
    mask[:, 2:7, 2:7] = True
    return torch.rand(2, 3, 8, 8), mask


def _score(score, model, scan):
    x, mask = scan
    return score(model, x, mask, Runner(dims=2, size=(8, 8))).inside(mask)


def test_mean_and_population_variance_of_the_draws(scan):
    _, mask = scan
    found = _score(Segmentation(draws=4), Draws(0.0, 0.2, 0.6, 1.0), scan)
    torch.testing.assert_close(found.map[mask], torch.full_like(found.map[mask], 0.45))
    expected = ((0.45**2) + 0.25**2 + 0.15**2 + 0.55**2) / 4
    torch.testing.assert_close(found.uncertainty[mask], torch.full_like(found.map[mask], expected))
    assert not found.map[~mask].any()
    assert not found.uncertainty[~mask].any()


def test_brightness_is_evidence_beside_the_mean(scan):
    x, mask = scan
    found = _score(Segmentation(draws=2, intensity=3.0), Draws(0.1, 0.3), scan)
    expected = torch.sigmoid(torch.tensor(0.2).logit() + 3 * x.mean(dim=0))
    torch.testing.assert_close(found.map[mask], expected[mask])
    assert not found.map[~mask].any()
    dark = _score(Segmentation(draws=2, intensity=-3.0), Draws(0.1, 0.3), scan).map[mask]
    assert (dark < 0.2).all()
    sure = _score(Segmentation(draws=2, intensity=3.0), Draws(1.0, 1.0), scan).map
    assert sure.isfinite().all()
    assert not Segmentation(intensity=1.0).probability


def test_entropy_is_one_bit_at_a_half_and_nothing_at_the_ends(scan):
    _, mask = scan
    found = _score(Segmentation(draws=1, uncertainty="entropy"), Draws(0.5), scan)
    torch.testing.assert_close(found.uncertainty[mask], torch.ones_like(found.map[mask]))
    assert entropy(torch.tensor([0.0, 1.0])).tolist() == [0, 0]
    p = 0.2
    bits = -(p * math.log2(p) + (1 - p) * math.log2(1 - p))
    assert float(entropy(torch.tensor(p))) == pytest.approx(bits)


def test_the_models_own_variance_is_taken_where_it_has_one(scan):
    _, mask = scan
    score = Segmentation(draws=1, uncertainty="aleatoric")
    assert _score(score, Unsure(0.3), scan).uncertainty[mask].unique().tolist() == [7.0]
    with pytest.raises(PairingError, match="PredictsVariance"):
        check_pairing(Draws(0.3), score)


def test_nothing_found_is_an_answer_and_an_empty_scan_too(scan):
    x, mask = scan
    assert not _score(Segmentation(), Draws(*[0.0] * 5), scan).map.any()
    empty = _score(Segmentation(), Draws(*[1.0] * 5), (x, torch.zeros_like(mask)))
    assert empty.map.shape == mask.shape
    assert not empty.map.any()


def test_windows_of_a_larger_slice_agree(scan):
    x, mask = torch.rand(1, 2, 13, 11), torch.ones(2, 13, 11, dtype=torch.bool)
    found = Segmentation(draws=2)(Draws(0.2, 0.4), x, mask, Runner(dims=2, size=(8, 8)))
    torch.testing.assert_close(found.map, torch.full_like(found.map, 0.3))
    torch.testing.assert_close(found.uncertainty, torch.full_like(found.map, 0.01))


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="draws=1"):
        Segmentation(draws=1)
    with pytest.raises(ConfigError, match="Did you mean 'entropy'"):
        Segmentation(uncertainty="entropie")
    with pytest.raises(PairingError, match=r"SegmentsInSteps.*: ddpm-segmenter$"):
        check_pairing(SegNet, Segmentation(steps=5))
    with pytest.raises(PairingError, match="ddpm-segmenter, denoiser-segmenter, segnet"):
        check_pairing(DAE(channels=1, size=(8, 8), network={"depth": 1, "width": 4}), Segmentation())
