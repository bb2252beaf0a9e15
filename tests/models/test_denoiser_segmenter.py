from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.capabilities import LearnsFromPlanted, Reconstructs, Segments, Trains
from aberra.errors import ConfigError, TrainingError
from aberra.models.denoiser_segmenter import DenoiserSegmenter

SMALL = {"denoiser": {"network": {"width": 4, "depth": 2}}, "segmenter": {"widths": [4, 8]}}


def _model(**options):
    torch.manual_seed(0)
    return DenoiserSegmenter(**({"channels": 1, "size": (16, 16)} | SMALL | options))


def _batch():
    healthy = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    lesion = torch.zeros_like(healthy)
    lesion[..., 4:9, 4:9] = 1
    mask = torch.ones_like(healthy)
    return Batch(healthy + lesion, mask, torch.Generator().manual_seed(0), lesion=lesion, healthy=healthy)


@pytest.mark.parametrize("dims", [2, 3])
def test_it_answers_as_its_parts_do(dims):
    model = _model(dims=dims, size=(16,) * dims, channels=2).eval()
    for capability in (Trains, Reconstructs, Segments, LearnsFromPlanted):
        assert isinstance(model, capability)
    x = torch.rand(2, 2, *(16,) * dims)
    torch.testing.assert_close(model.reconstruct(x), model.denoiser.reconstruct(x))
    for found, own in zip(model.segmentations(x, 2), model.segmenter.segmentations(x, 2), strict=True):
        torch.testing.assert_close(found, own)


def test_the_denoiser_learns_from_what_was_there_before_and_the_segmenter_from_what_was_planted():
    model, batch = _model().eval(), _batch()
    losses = model.loss(batch)
    clean = Batch(batch.healthy, batch.mask, torch.Generator().manual_seed(0))
    torch.testing.assert_close(losses["denoising"], model.denoiser.loss(clean)["loss"])
    torch.testing.assert_close(losses["outlining"], model.segmenter.loss(batch)["loss"])
    torch.testing.assert_close(losses["loss"], losses["denoising"] + losses["outlining"])


def test_no_weight_learns_from_the_other_loss():
    model, batch = _model(), _batch()
    parts = {"denoising": model.segmenter, "outlining": model.denoiser}
    for term, other in parts.items():
        model.zero_grad()
        model.loss(batch)[term].backward()
        assert all(weight.grad is None for weight in other.parameters())


def test_the_task_is_the_segmenters_with_the_image_before():
    model = _model(segmenter={"widths": [4, 8], "shapes": ["sphere"], "count": 1})
    for task in (model.task(), model.validation_task()):
        assert task["before"]
    assert model.task()["shapes"] == ["sphere"]
    assert model.task()["label"] == "binary"


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match=r"model.denoiser=fanogan: expected a model that reconstructs"):
        _model(denoiser="fanogan")
    with pytest.raises(ConfigError, match=r"model.segmenter=dae: expected .* anomaly-segmenter"):
        _model(segmenter="dae")
    with pytest.raises(TrainingError, match="without lesions"):
        _model().loss(_batch()._replace(healthy=None))
