from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.svm import OneClassSVM as Machine

from aberra.errors import ConfigError, NotFittedError, TrainingError
from aberra.models import ocsvm
from aberra.models.ocsvm import OneClassSVM, SliceSVM


def _samples(count=4, channels=1, size=(20, 24)):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, channels, *size, generator=generator)
    mask = torch.zeros(count, 1, *size)
    mask[(..., *(slice(3, -4) for _ in size))] = 1
    return x * mask, mask


def _fitted(x, mask, **options):
    model = OneClassSVM(channels=x.shape[1], dims=x.ndim - 2, **({"vectors": 300, "nu": 0.1} | options))
    model.fit_samples(x, mask, 0)
    return model


def test_the_decision_is_that_of_sklearn():
    x, mask = _samples(channels=2)
    model = _fitted(x, mask)
    healthy = (model._draw(x, mask, torch.Generator().manual_seed(0)) - model.mean) / model.std
    machine = Machine(kernel="rbf", nu=0.1, gamma="scale").fit(healthy.double().numpy())
    points = torch.cat([healthy, 3 * torch.randn(100, healthy.shape[1])])
    expected = machine.decision_function(points.double().numpy())
    # "scale" has the sample's variance, which is one up to the divisor N − 1 and rounding
    again = Machine(kernel="rbf", nu=0.1, gamma=float(model.gamma)).fit(healthy.double().numpy())
    np.testing.assert_allclose(
        model.decision(points), again.decision_function(points.double().numpy()), atol=1e-5
    )
    np.testing.assert_allclose(model.decision(points), expected, atol=0.02 * np.ptp(expected))


def test_the_score_orders_as_the_decision_does_and_does_not_level_off():
    x, mask = _samples()
    model = _fitted(x, mask)
    points = torch.randn(1000, 7) * torch.linspace(0, 3, 1000)[:, None]
    score, decision = model.distance(points), model.decision(points)
    assert (score >= 0).all()
    assert (decision[score.argsort()].diff() <= 1e-5).all()
    far = torch.stack([torch.full((7,), value) for value in (20.0, 30.0, 40.0)])
    assert (model.distance(far).diff() > 10).all()
    assert (model.decision(far).diff().abs() < 1e-5).all()


def test_a_share_nu_of_the_healthy_voxels_is_outside():
    x, mask = _samples(count=8)
    model = _fitted(x, mask, vectors=1000, nu=0.2)
    healthy = (model._draw(x, mask, torch.Generator().manual_seed(0)) - model.mean) / model.std
    assert abs(float((model.decision(healthy) < 0).float().mean()) - 0.2) < 0.02


@pytest.mark.parametrize("size", [(20, 24), (12, 14, 16)])
def test_features_are_gaussian_means_of_the_foreground_and_their_contrasts(size):
    x, mask = _samples(count=1, size=size)
    model = OneClassSVM(channels=1, dims=len(size), scales=(0.0, 1.0, 2.0), vectors=2)
    inside = mask[0, 0].numpy() > 0

    def mean(sigma):
        blurred = [
            gaussian_filter(each.numpy(), sigma, mode="constant", radius=3 * int(sigma))
            for each in (x[0, 0], mask[0, 0])
        ]
        return (blurred[0] / np.maximum(blurred[1], 1e-6))[inside]

    raw, fine, coarse = x[0, 0].numpy()[inside], mean(1.0), mean(2.0)
    expected = np.stack([raw, fine, coarse, raw - fine, fine - coarse], axis=1)
    np.testing.assert_allclose(model.features(x, mask), expected, atol=1e-5)


def test_a_constant_foreground_has_no_contrast_at_its_border():
    mask = _samples(count=1)[1]
    model = OneClassSVM(channels=1, vectors=2)
    found = model.features(5 * mask, mask)
    torch.testing.assert_close(found[:, :4], torch.full_like(found[:, :4], 5.0))
    assert float(found[:, 4:].abs().max()) < 1e-5


@pytest.mark.parametrize("dims", [2, 3])
def test_a_volume_has_the_features_of_its_samples(dims, monkeypatch):
    size = (20, 24) if dims == 2 else (10, 14, 16)
    x, mask = _samples(count=4 if dims == 2 else 1, size=size)
    model = _fitted(x, mask)
    volume, inside = (x.movedim(1, 0), mask[:, 0].bool()) if dims == 2 else (x[0], mask[0, 0].bool())
    score = model.score_volume(volume, inside)
    expected = model.distance((model.features(x, mask) - model.mean) / model.std)
    torch.testing.assert_close(score[inside], expected)
    assert not score[~inside].any()
    monkeypatch.setattr(ocsvm, "CHUNK", 100)
    torch.testing.assert_close(model.score_volume(volume, inside), score)


def test_drawn_voxels_are_different_ones_from_the_foreground_and_all_where_there_are_few():
    x, mask = _samples(count=3)
    model = OneClassSVM(channels=1, scales=(0.0,), vectors=200)
    drawn = model._draw(x, mask, torch.Generator().manual_seed(0))
    assert drawn.shape == (200, 1)
    assert len(drawn.unique()) == 200
    assert np.isin(drawn.numpy(), x[mask > 0].numpy()).all()
    few = OneClassSVM(channels=1, scales=(0.0,), vectors=2000)
    assert len(few._draw(x, mask, torch.Generator().manual_seed(0))) == int(mask.sum())


def test_unused_rows_have_no_weight_and_shapes_are_those_of_the_constructor():
    x, mask = _samples()
    model = _fitted(x, mask)
    fresh = OneClassSVM(channels=1, vectors=300)
    assert {name: each.shape for name, each in model.state_dict().items()} == {
        name: each.shape for name, each in fresh.state_dict().items()
    }
    used = model.weights > 0
    assert 30 <= int(used.sum()) < 300
    assert not model.support[~used].any()
    torch.testing.assert_close(float(model.weights.sum()), 0.1 * 300, rtol=1e-5, atol=0)


def test_an_empty_volume_and_settings_that_cannot_work():
    x, mask = _samples()
    model = _fitted(x, mask)
    volume = torch.zeros(1, 2, 20, 24)
    assert not model.score_volume(volume, torch.zeros(2, 20, 24, dtype=torch.bool)).any()
    with pytest.raises(TrainingError, match="0 foreground"):
        model.fit_samples(x, torch.zeros_like(mask), 0)
    with pytest.raises(ConfigError, match=r"nu=1\.5"):
        OneClassSVM(channels=1, nu=1.5)
    with pytest.raises(ConfigError, match="ascending"):
        OneClassSVM(channels=1, scales=(2.0, 1.0))


def test_what_was_not_fitted_says_so():
    model = OneClassSVM(channels=1, vectors=10)
    with pytest.raises(NotFittedError, match="ocsvm: not fitted"):
        model.score_volume(torch.rand(1, 2, 4, 4), torch.ones(2, 4, 4))


def test_a_slice_is_scored_by_the_decision_of_sklearn_on_its_pixels():
    generator = torch.Generator().manual_seed(0)
    x, mask = torch.randn(40, 2, 16, 24, generator=generator), torch.ones(40, 1, 16, 24)
    model = SliceSVM(channels=2, edge=8, nu=0.2)
    model.fit_samples(x, mask, 0)
    pixels = torch.nn.functional.avg_pool2d(x, (2, 3)).flatten(1)
    pixels = (pixels - pixels.mean(dim=0)).double().numpy()
    machine = Machine(kernel="rbf", nu=0.2, gamma=1 / (pixels.shape[1] * pixels.var())).fit(pixels)
    decision = machine.decision_function(pixels)
    score = model.score_volume(x.movedim(0, 1), mask[:, 0])
    assert score.shape == (40, 16, 24)
    assert (score == score[:, :1, :1]).all()
    told = model.decision((model.features(x, mask) - model.mean) / model.std)
    np.testing.assert_allclose(told, decision, atol=0.02 * np.ptp(decision))
    assert (told[score[:, 0, 0].argsort()].diff() <= 1e-6).all()


def test_another_slice_is_farther_out_and_empty_ones_are_not_learnt_from():
    x, mask = _samples(count=30)
    x[:, :, 4:10] += 3  # what all healthy slices share
    mask[20:] = 0
    model = SliceSVM(channels=1, edge=10)
    model.fit_samples(x, mask, 0)
    assert (model.weights > 0).sum() <= 20
    other = x[:20].clone()
    other[3, :, 4:10] -= 6
    score = model.score_volume(other.movedim(0, 1), mask[:20, 0]).amax(dim=(1, 2))
    assert score.argmax() == 3
    volume = SliceSVM(channels=1, dims=3, edge=10)
    volume.fit_samples(x.movedim(0, 1)[None], mask.movedim(0, 1)[None], 0)
    torch.testing.assert_close(volume.support, model.support)


def test_slices_without_foreground_and_machines_that_learnt_nothing_are_refused():
    model = SliceSVM(channels=1)
    with pytest.raises(NotFittedError):
        model.score_volume(torch.zeros(1, 2, 8, 8), torch.ones(2, 8, 8))
    with pytest.raises(TrainingError, match=r"0 slice\(s\)"):
        model.fit_samples(torch.zeros(3, 1, 8, 8), torch.zeros(3, 1, 8, 8), 0)
