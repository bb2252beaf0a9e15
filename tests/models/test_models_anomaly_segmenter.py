from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.capabilities import LearnsFromLesions, LearnsFromPlanted, Segments, Trains
from aberra.detector.windows import Runner
from aberra.errors import ConfigError
from aberra.models.anomaly_segmenter import AnomalySegmenter


def _model(**options):
    torch.manual_seed(0)
    return AnomalySegmenter(**{"channels": 1, "size": (16, 16, 16), "widths": (4, 8, 8)} | options)


@pytest.mark.parametrize("dims", [2, 3])
def test_what_it_can_do(dims):
    model = _model(dims=dims, size=(16,) * dims, channels=2)
    assert isinstance(model, Trains)
    assert isinstance(model, Segments)
    assert isinstance(model, LearnsFromPlanted)
    assert not isinstance(model, LearnsFromLesions)  # nobody's masks are needed
    x = torch.rand(2, 2, *(16,) * dims)
    with torch.inference_mode():
        first, second = model.segmentations(x, 2)
        (mirrored, _) = model.segmentations(x.flip(-1), 2)
    assert first.shape == (2, 3, *(16,) * dims)
    assert (first.sum(dim=1) <= 1).all()
    torch.testing.assert_close(mirrored.flip(-1), second)


def test_it_learns_which_way_a_voxel_departs():
    model = _model()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(2, 1, 16, 16, 16)
    for _ in range(120):
        lesion = torch.zeros_like(mask)
        for image in lesion:
            for value in (1, 2):
                low = torch.randint(0, 10, (3,), generator=generator).tolist()
                image[(0, *(slice(i, i + 5) for i in low))] = value
        x = 0.1 * torch.randn(mask.shape, generator=generator) + (lesion == 1).float() - (lesion == 2).float()
        losses = model.loss(Batch(x, mask, generator, lesion=lesion))
        optimiser.zero_grad()
        losses["loss"].backward()
        optimiser.step()
    with torch.inference_mode():
        found = next(model.eval().segmentations(x, 1))
    assert found[:, 0][lesion[:, 0] == 1].mean() > 0.6
    assert found[:, 1][lesion[:, 0] == 2].mean() > 0.6
    assert found.sum(dim=1)[lesion[:, 0] == 0].mean() < 0.2


def test_voxels_outside_the_mask_do_not_count():
    model = _model()
    x, mask = torch.rand(1, 1, 16, 16, 16), torch.zeros(1, 1, 16, 16, 16)
    mask[..., :8] = 1
    one, other = torch.zeros_like(mask), torch.zeros_like(mask)
    other[..., 8:] = 1
    losses = [
        float(model.loss(Batch(x, mask, torch.Generator(), lesion=each))["loss"].detach())
        for each in (one, other)
    ]
    assert losses[0] == losses[1]


def test_sizes_that_cannot_be_halved_and_single_levels_are_refused():
    with pytest.raises(ConfigError, match="divisible by 4"):
        _model(size=(18, 16, 16))
    with pytest.raises(ConfigError, match="two levels"):
        _model(widths=(4,))


def test_a_whole_brain_is_seen_in_one_pass():
    seen = []
    mask = torch.zeros(40, 50, 30, dtype=torch.bool)
    mask[10:30, 5:40, 8:21] = True
    x = torch.rand(1, *mask.shape) * mask

    def look(batch):
        seen.append(tuple(batch.shape))
        return batch * 2

    found = Runner(dims=3, size=(16, 16, 16), grows=8)(look, x, mask)
    assert len(seen) == 1
    assert all(edge % 8 == 0 for edge in seen[0][2:])
    torch.testing.assert_close(found * mask, 2 * x)
    assert found.shape == x.shape


def _batch(channels=1, edge=16):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, channels, edge, edge, generator=generator)
    lesion = torch.zeros(4, 1, edge, edge)
    lesion[:, :, 4:9, 5:11] = 0.7
    return x, torch.ones_like(lesion), lesion


@pytest.mark.parametrize("label", ["weight", "intensity"])
def test_soft_truth_is_learnt_by_binary_cross_entropy_of_the_foreground(label):
    model = _model(dims=2, size=(16, 16), label=label, channels=2)
    x, mask, lesion = _batch(2)
    mask[..., 12:] = 0
    found = float(model.loss(Batch(x, mask, torch.Generator(), lesion=lesion))["loss"].detach())
    p = next(model.segmentations(x, 1)).detach()
    assert p.shape == lesion.shape
    assert model.kinds == ()
    error = -(lesion * p.log() + (1 - lesion) * (1 - p).log())
    assert found == pytest.approx(float(error[mask > 0].mean()), rel=1e-4)


def test_binary_truth_has_the_loss_of_one_class():
    model = _model(dims=2, size=(16, 16), label="binary", weight=0.3, dice=0.2)
    x, mask, lesion = _batch()
    lesion = (lesion > 0).float()
    losses = model.loss(Batch(x, mask, torch.Generator(), lesion=lesion))
    p = next(model.segmentations(x, 1))
    error = -(lesion * p.log() + (1 - lesion) * (1 - p).log())
    healthy = error[lesion == 0].view(4, -1).mean(dim=1).mean()
    torch.testing.assert_close(losses["healthy"], healthy)
    torch.testing.assert_close(
        losses["diseased"], 0.3 * error[lesion > 0].view(4, -1).sum(dim=1).mean() / 100
    )


def test_validation_watches_average_precision():
    from sklearn.metrics import average_precision_score

    model = _model(dims=2, size=(16, 16), label="weight")
    x, mask, lesion = _batch()
    mask[:, :, :2] = 0
    assert "error" not in model.loss(Batch(x, mask, torch.Generator(), lesion=lesion))
    losses = model.eval().loss(Batch(x, mask, torch.Generator(), lesion=lesion))
    p = next(model.segmentations(x, 1)).detach()
    expected = average_precision_score((lesion > 0)[mask > 0], p[mask > 0])
    assert float(losses["error"]) == pytest.approx(1 - expected, abs=1e-6)
    nothing = model.loss(Batch(x, mask, torch.Generator(), lesion=torch.zeros_like(lesion)))
    assert float(nothing["error"]) == 0


def test_validation_is_with_another_family_than_training():
    pasted = _model(sources=["foreign", "patch"], label="weight").validation_task()
    assert set(pasted["sources"]) == {"hyper", "hypo", "texture"}
    assert pasted["label"] == "binary"
    painted = _model().validation_task()
    assert painted["sources"] == ["patch"]
    assert painted["label"] == "class"
    assert pasted["healthy"] == painted["healthy"] == 0


@pytest.mark.parametrize("dims", [2, 3])
def test_a_second_head_learns_the_image_without_lesions(dims):
    model = _model(dims=dims, size=(16,) * dims, channels=2, restores=True, label="binary")
    generator = torch.Generator().manual_seed(0)
    healthy = torch.rand(2, 2, *(16,) * dims, generator=generator)
    mask, lesion = torch.ones(2, 1, *(16,) * dims), torch.zeros(2, 1, *(16,) * dims)
    lesion[..., 4:9] = 1
    x = healthy + 0.5 * lesion
    losses = model.loss(Batch(x, mask, generator, lesion=lesion, healthy=healthy))
    error = (model.restored(x) - healthy).abs() * (1 + lesion)
    torch.testing.assert_close(losses["restored"], error.mean())
    torch.testing.assert_close(
        losses["loss"], losses["healthy"] + losses["diseased"] + 0.2 * losses["dice"] + losses["restored"]
    )
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        losses = model.loss(Batch(x, mask, generator, lesion=lesion, healthy=healthy))
        optimiser.zero_grad()
        losses["loss"].backward()
        optimiser.step()
    change = (model.eval().restored(x) - x).detach()[:, :1]
    assert change[lesion > 0].mean() < -0.3
    assert change[lesion == 0].abs().mean() < 0.2


def test_the_score_returns_what_is_restored():
    from aberra.scores.segmentation import Segmentation

    model = _model(dims=2, size=(16, 16), restores=True, label="weight").eval()
    assert Segmentation(probability=False).probability is False
    x, mask = torch.rand(1, 3, 16, 16), torch.ones(3, 16, 16, dtype=torch.bool)
    mask[:, :3] = False
    scored = Segmentation(draws=2)(model, x, mask, Runner(dims=2, size=(16, 16))).inside(mask)
    with torch.inference_mode():
        expected = model.restored(x.transpose(0, 1)).transpose(0, 1) * mask
    torch.testing.assert_close(scored.reconstruction, expected)
    plain = _model(dims=2, size=(16, 16)).eval()
    assert Segmentation(draws=2)(plain, x, mask, Runner(dims=2, size=(16, 16))).reconstruction is None


def test_tasks_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="foreign"):
        _model(sources=["foregin"])
    with pytest.raises(ConfigError, match=r"model.factor=\[0.9, 0.1\]"):
        _model(factor=[0.9, 0.1])


def test_the_model_offers_what_can_be_planted():
    from typing import get_args

    from aberra.models.anomaly_segmenter import Blend, Label, Shape, Source
    from aberra.synthesis.parameters import BLENDS, FOREIGN, SHAPES, SOURCES
    from aberra.synthesis.planted import TARGETS

    assert set(get_args(Source)) == {*SOURCES, *FOREIGN}
    assert set(get_args(Shape)) == {*SHAPES} - {"mask"}  # which needs a file
    assert get_args(Blend) == BLENDS
    assert get_args(Label) == tuple(TARGETS)


def test_the_committed_detector_has_the_weights_of_this_model():
    from aberra.detector import Detector

    model = Detector.load("flair").model
    assert isinstance(model, AnomalySegmenter)
    assert model.kinds == (1, 2, 3)
    assert not model.restores
    with torch.inference_mode():
        found = next(model.segmentations(torch.zeros(1, 1, 32, 32, 32), 1))
    assert found.shape == (1, 3, 32, 32, 32)
    assert found.sum(dim=1).max() < 0.5  # nothing stands out of even tissue
