from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.detector.windows import Runner
from aberra.errors import ConfigError
from aberra.models.disyre import DISYRE, plant
from aberra.nets.diffusion_unet import DiffusionUNet
from aberra.scores.residual import Residual

SMALL = {"network": {"width": 4, "multipliers": (1, 2), "attention": ()}}


def _model(size=(32, 32), **options):
    torch.manual_seed(0)
    model = DISYRE(**{"channels": 1, "dims": len(size), "size": size} | SMALL | options)
    for weight in model.parameters():  # a fresh network is the identity, whatever the severity
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.1)
    return model.eval().requires_grad_(requires_grad=False)


def _seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def _batch(count=6, channels=1, size=(32, 32)):
    """Images of smooth tissue in [0.2, 1] on a zero background, and their foreground."""
    mask = torch.zeros(count, 1, *size)
    mask[(slice(None), slice(None), *[slice(4, -4)] * len(size))] = 1
    return (0.2 + 0.8 * torch.rand(count, channels, *size, generator=_seeded(9))) * mask, mask


def test_the_severity_rises_from_the_image_itself_to_the_last_step():
    model = _model()
    severity = torch.linspace(0, 1, 500)
    steps = model.step(severity)
    assert steps[0] == 0
    assert steps[-1] == 100
    assert (steps.diff() >= 0).all()
    # the step whose level is nearest: no other is nearer
    levels = model.schedule.alpha_bar.sqrt().flip(0).float()
    nearest = (levels[steps] - severity).abs()
    assert (nearest[:, None] <= (levels - severity[:, None]).abs() + 1e-6).all()
    # every level is its own step
    assert torch.equal(model.step(levels), torch.arange(101))


def test_nothing_of_everything_leaves_the_image_and_has_no_severity():
    x, mask = _batch()
    corrupted, severity = plant(
        x, mask, foreign=x.flip(0), alpha=torch.zeros(6, 1, 1, 1), bias=torch.zeros_like(x)
    )
    assert torch.equal(corrupted, x)
    assert not severity.any()
    # no shape, no anomaly, however strong
    corrupted, severity = plant(
        x, torch.zeros_like(mask), foreign=x.flip(0), alpha=torch.ones(6, 1, 1, 1), bias=torch.ones_like(x)
    )
    assert torch.equal(corrupted, x)
    assert not severity.any()


def test_texture_and_bias_are_what_the_formula_says():
    x, mask = _batch(2)
    shape = torch.zeros_like(mask)
    shape[:, :, 8:16, 8:16], shape[:, :, 20:24, 20:24] = 1.0, 0.5
    foreign = 3 - 2 * x.flip(0)
    alpha = torch.tensor([0.3, 0.9]).reshape(2, 1, 1, 1)
    found, severity = plant(x, shape, foreign=foreign, alpha=alpha, bias=torch.tensor(0.6))
    inside = shape[0, 0] > 0
    for image, other, weight, result in zip(x, foreign, alpha, found, strict=True):
        here, there = image[0][inside], other[0][inside]
        fitted = (there - there.min()) / (there.max() - there.min()) * (here.max() - here.min()) + here.min()
        m = shape[0, 0][inside]
        expected = (1 - weight.flatten() * m) * here + weight.flatten() * m * fitted + 0.6 * m
        torch.testing.assert_close(result[0][inside], expected)
        assert torch.equal(result[0][~inside], image[0][~inside])
    torch.testing.assert_close(severity, torch.tensor([0.6, 0.9]))


def test_a_bias_stops_at_the_darkest_value_and_counts_as_what_it_did():
    x, mask = _batch(2)
    found, severity = plant(x, mask, foreign=x, alpha=torch.zeros(2, 1, 1, 1), bias=torch.full_like(x, -5.0))
    assert not found.any()
    torch.testing.assert_close(severity, x.flatten(1).amax(dim=1))


@pytest.mark.parametrize("size", [(32, 48), (12, 16, 16)])
def test_outside_the_shape_and_in_the_background_nothing_changes(size):
    model = _model(size, channels=2, smallest=0.1)
    x, mask = _batch(6, 2, size)
    _, shape = model.shape(mask, _seeded())
    assert shape.shape == mask.shape
    assert 0 < float(shape.mean()) < 0.5
    assert not (shape * (1 - mask)).any()
    corrupted, severity = model.corrupt(x, mask, _seeded())  # the shape is drawn first, so it is the same
    assert torch.equal(torch.where(shape > 0, x, corrupted), x)
    assert ((corrupted != x) & (shape > 0)).flatten(1).any(dim=1).all()
    assert ((severity > 0) & (severity <= 1)).all()
    assert torch.isfinite(corrupted).all()


def test_anomalies_depend_on_the_generator_alone_and_differ():
    model, (x, mask) = _model(), _batch()
    first, same, other = (model.corrupt(x, mask, _seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], same[0])
    assert torch.equal(first[1], same[1])
    assert not torch.equal(first[0], other[0])
    assert len(first[1].unique()) == len(x)
    torch.manual_seed(0)
    losses = [float(model.loss(Batch(x, mask, _seeded(1)))["loss"]) for _ in range(2)]
    assert losses[0] == losses[1] > 0


def test_shapes_have_the_sizes_asked_for():
    _, mask = _batch(200, size=(64, 64))
    areas = {}
    for share in (1 / 16, 1 / 8):
        _, shape = _model((64, 64), smallest=share, largest=share).shape(torch.ones_like(mask), _seeded())
        areas[share] = float(shape.sum(dim=(1, 2, 3)).median())
        # the area of a circle of that radius, give or take the part beyond the image's border and
        # the stretch
        assert 0.5 < areas[share] / (torch.pi * (64 * share) ** 2) < 1.5
    assert 3 < areas[1 / 8] / areas[1 / 16] < 5


def test_the_foreign_image_is_another_one_of_the_batch_and_its_tissue_lies_at_the_centre():
    model = _model()
    mask = _batch()[1]
    x = mask * torch.arange(1.0, 7).reshape(6, 1, 1, 1)
    offset, shape = model.shape(mask, _seeded())
    foreign = model.foreign(x, mask, offset, _seeded(1))
    centre = offset.square().sum(dim=1).flatten(1).argmin(dim=1)
    values = foreign.flatten(1).gather(1, centre[:, None])[:, 0]
    shift = (torch.arange(6) + 1 - values).round() % 6
    assert len(shift.unique()) == 1
    assert shift[0] != 0
    assert (values.round() > 0).all()
    alone = model.foreign(x[:1], mask[:1], offset[:1], _seeded(1))
    assert float(alone.max()) == pytest.approx(1.0, abs=1e-5)
    assert shape.any()


def test_a_bias_reaches_whole_classes_of_intensity():
    model = _model((32, 32), classes=2)
    x, mask = _batch(20)
    dark = torch.zeros_like(mask)
    dark[..., :16] = 1
    x = torch.where(dark > 0, 0.1, 0.9).to(x)
    shape = torch.zeros_like(mask)
    shape[..., 8:24, 8:24] = 1
    found = model.some_classes(x, shape, _seeded())
    # away from the border between the classes it is all or nothing, and each of the three choices
    # is met
    left, right = found[..., :15].flatten(1), found[..., 17:].flatten(1)
    for side in (left, right):
        assert torch.equal(side.amin(dim=1), side.amax(dim=1))
    choices = {(int(a), int(b)) for a, b in zip(left[:, 0], right[:, 0], strict=True)}
    assert choices == {(0, 1), (1, 0), (1, 1)}


def test_draws_assume_evenly_spread_severities():
    model, (x, _) = _model(), _batch(3)
    draws = list(model.sample_reconstructions(x, 4))
    for draw, t in zip(draws, (100, 75, 50, 25), strict=True):
        torch.testing.assert_close(draw, model.restore(x, torch.full((3,), t)))
    assert not torch.allclose(draws[0], draws[3])
    # never fewer draws than were asked for, even beyond T
    assert len(list(_model(timesteps=3).sample_reconstructions(x, 5))) == 5


def test_the_published_map_is_the_residual_of_four_draws():
    model, (x, mask) = _model(), _batch(3)
    volume, foreground = x.transpose(0, 1)[0][None], mask[:, 0] > 0
    scored = Residual(restore={"name": "draws", "draws": 4})(
        model, volume, foreground, Runner(dims=2, size=(32, 32))
    ).inside(foreground)
    expected = torch.stack([(x - each).abs() for each in model.sample_reconstructions(x, 4)]).mean(dim=0)
    torch.testing.assert_close(scored.map, expected[:, 0] * foreground)
    mean = torch.stack(list(model.sample_reconstructions(x, 4))).mean(dim=0)
    torch.testing.assert_close(scored.reconstruction, mean[:, 0][None] * foreground)


def test_the_loss_is_the_error_in_the_foreground_told_the_severity():
    x, mask = _batch()
    for predicts in DISYRE.PREDICTS:
        model = _model(predicts=predicts)
        corrupted, severity = model.corrupt(x, mask, _seeded())
        out = model.net(corrupted, model.step(severity))
        restored = corrupted - out if predicts == "change" else out
        expected = (restored - x)[mask > 0].square().mean()
        torch.testing.assert_close(model.loss(Batch(x, mask, _seeded()))["loss"], expected)


def test_it_learns_to_undo_its_own_anomalies():
    torch.manual_seed(0)
    model = DISYRE(channels=1, size=(16, 16), **SMALL)
    mask = _batch(16, size=(16, 16))[1]
    x = 0.5 * mask
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(60):
        optimiser.zero_grad()
        model.loss(Batch(x, mask, _seeded(step)))["loss"].backward()
        optimiser.step()
    corrupted, severity = model.corrupt(x, mask, _seeded(1000))
    with torch.no_grad():
        left = ((model.restore(corrupted, model.step(severity)) - x) * mask).square().sum()
    assert left < 0.5 * (corrupted - x).square().sum()


def test_it_has_the_networks_parameters_and_an_empty_batch_of_tissue_does_no_harm():
    model = _model(channels=3)
    net = DiffusionUNet(channels=3, out=3, size=(32, 32), width=4, multipliers=(1, 2), blocks=1, attention=())
    assert sum(each.numel() for each in model.parameters()) == sum(each.numel() for each in net.parameters())
    x = torch.zeros(2, 3, 32, 32)
    assert model.loss(Batch(x, x[:, :1], _seeded()))["loss"] == 0


def test_bad_options_are_refused():
    with pytest.raises(ConfigError, match="change"):
        _model(predicts="chnge")
    for options in ({"smallest": 0.0}, {"smallest": 0.3, "largest": 0.2}, {"largest": 0.6}, {"classes": 0}):
        with pytest.raises(ConfigError, match=f"{next(iter(options))}="):
            _model(**options)
