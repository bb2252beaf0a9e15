from __future__ import annotations

import pytest
import torch

from aberra.detector.windows import Runner
from aberra.errors import ConfigError, PairingError
from aberra.models.dae import DAE
from aberra.models.denoiser_segmenter import DenoiserSegmenter
from aberra.scores import check_pairing
from aberra.scores.residual import Residual
from aberra.scores.segmentation import Segmentation
from aberra.scores.weighted_sum import WeightedSum


@pytest.fixture(scope="module")
def asked():
    torch.manual_seed(0)
    parts = {"denoiser": {"network": {"width": 4, "depth": 2}}, "segmenter": {"widths": [4, 8]}}
    model = DenoiserSegmenter(channels=1, size=(16, 16), **parts).eval()
    x, mask = torch.rand(1, 3, 16, 16), torch.ones(3, 16, 16, dtype=torch.bool)
    return model, x, mask, Runner(dims=2, size=(16, 16), device="cpu")


@pytest.mark.parametrize("weight", [0.3, 2.0])
def test_the_map_is_the_residual_and_the_weighted_probability(asked, weight):
    compare = {"mode": "positive", "centre": True}
    residual = Residual(compare=compare)(*asked)
    p = Segmentation(draws=2)(*asked).map
    found = WeightedSum(weight=weight, compare=compare)(*asked)
    torch.testing.assert_close(found.map, residual.map + weight * p)
    torch.testing.assert_close(found.reconstruction, residual.reconstruction)


def test_with_weight_0_it_is_the_denoisers(asked):
    model, *rest = asked
    torch.testing.assert_close(WeightedSum(weight=0.0)(*asked).map, Residual()(model.denoiser, *rest).map)


def test_any_kind_of_lesion_counts(asked):
    _, *rest = asked
    torch.manual_seed(0)
    parts = {
        "denoiser": {"network": {"width": 4, "depth": 2}},
        "segmenter": {"widths": [4, 8], "label": "class"},
    }
    model = DenoiserSegmenter(channels=1, size=(16, 16), **parts).eval()
    of_kinds = Segmentation(draws=2)(model.segmenter, *rest)
    assert len(of_kinds.kinds) == 3
    found = WeightedSum(weight=1.0)(model, *rest)
    torch.testing.assert_close(found.map, Residual()(model, *rest).map + of_kinds.map)


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="weight"):
        WeightedSum(weight=-1.0)
    with pytest.raises(PairingError, match=r"needs Segments.* denoiser-segmenter"):
        check_pairing(DAE, WeightedSum())
