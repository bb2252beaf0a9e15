from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.diffusion.noise import draw, shared
from aberra.errors import ConfigError
from aberra.method import Method
from aberra.models.pddpm import PatchedDDPM, grid_of_boxes
from aberra.nets.diffusion_unet import DiffusionUNet
from aberra.registry import build

SMALL = {"network": {"width": 4, "multipliers": (1, 2), "attention": ()}}


def _model(size=(32, 32), **options):
    torch.manual_seed(0)
    return PatchedDDPM(**{"channels": 1, "dims": len(size), "size": size} | SMALL | options)


def _spied(model, answer=None):
    """What the network is shown; with ``answer`` it says that."""
    seen = []

    def network(x, t, label=None, _conditions=None):
        seen.append((x.clone(), t.clone()))
        return torch.zeros_like(x) if answer is None else answer(x)

    model.ddpm.net.forward = network
    return seen


@pytest.mark.parametrize("size", [(96, 96), (32, 48), (8, 12, 16), (7, 9)])
@pytest.mark.parametrize(("share", "overlap"), [(0.5, 0.0), (0.5, 0.5), (0.3, 0.25), (1.0, 0.0), (0.1, 0.0)])
def test_the_grid_covers_everything_with_equal_boxes(size, share, overlap):
    boxes = grid_of_boxes(size, share, overlap)
    assert boxes.shape[1:] == (1, *size)
    assert (boxes.sum(dim=0) >= 1).all()
    edges = [max(1, round(share * edge)) for edge in size]
    assert (boxes.flatten(1).sum(dim=1) == torch.tensor(edges).prod()).all()
    assert len(boxes.unique(dim=0)) == len(boxes)
    if (share, overlap) == (0.5, 0.0) and not any(edge % 2 for edge in size):
        assert len(boxes) == 2 ** len(size)
        assert (boxes.sum(dim=0) == 1).all()


def test_neighbours_share_at_least_what_was_asked_for():
    assert len(grid_of_boxes((96, 96), 0.5, 0.5)) == 9
    line = grid_of_boxes((100, 1), 0.4, 0.25)[:, 0, :, 0]
    lows = line.argmax(dim=1)
    assert (lows.diff() <= 30).all()
    assert lows[-1] == 60


def test_the_context_is_shown_as_it_is_and_the_box_with_its_own_noise():
    model = _model()
    x = torch.rand(3, 1, 32, 32)
    seen = _spied(model)
    model.restore_boxes(x, 300)
    assert len(seen) == 4
    for number, (box, (shown, t)) in enumerate(zip(model.boxes, seen, strict=True)):
        inside = (box > 0).expand_as(x)
        assert torch.equal(shown[~inside], x[~inside])
        noisy = model.ddpm.schedule.add_noise(x, shared("simplex", number, x), 300)
        torch.testing.assert_close(shown[inside], noisy[inside])
        assert (shown[inside] != x[inside]).float().mean() > 0.99
        assert (t == 300).all()


def test_a_network_that_sees_through_the_noise_restores_the_image_and_overlaps_are_averaged():
    x = torch.rand(2, 1, 32, 32)
    model = _model(overlap=0.5)
    _spied(model, answer=lambda _: x)
    torch.testing.assert_close(model.restore_boxes(x, 500), x)
    calls = iter(range(1, 10))
    _spied(model, answer=lambda shown: torch.full_like(shown, float(next(calls))))
    told = torch.arange(1.0, 10).reshape(9, 1, 1, 1)
    expected = (told * model.boxes).sum(dim=0) / model.boxes.sum(dim=0)
    torch.testing.assert_close(model.restore_boxes(x, 500), expected.expand_as(x))


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_loss_is_the_error_in_the_box_alone(norm):
    model = _model(loss_norm=norm, noise="gaussian")
    x = torch.rand(16, 1, 32, 32)
    seen = _spied(model)
    found = model.loss(Batch(x, torch.ones_like(x), torch.Generator().manual_seed(3)))["loss"]
    ((shown, t),) = seen
    generator = torch.Generator().manual_seed(3)
    picks = torch.randint(4, (16,), generator=generator)
    assert torch.equal(t, torch.randint(1, 1001, (16,), generator=generator))
    assert len(picks.unique()) > 1
    noisy = model.ddpm.schedule.add_noise(x, draw("gaussian", x.shape, generator), t)
    inside = model.boxes[picks] > 0
    torch.testing.assert_close(shown, torch.where(inside, noisy, x))
    error = x[inside]  # the network said zero
    torch.testing.assert_close(found, error.abs().mean() if norm == "l1" else error.square().mean())
    # what it says outside the box does not matter
    _spied(model, answer=lambda shown: torch.where(inside, 0.0, shown + 100))
    torch.testing.assert_close(model.loss(Batch(x, x, torch.Generator().manual_seed(3)))["loss"], found)


def test_it_is_deterministic_and_independent_of_the_batch():
    model = _model().eval()
    torch.nn.init.normal_(model.ddpm.net.last.weight)
    x = torch.rand(3, 1, 32, 32)
    with torch.no_grad():
        found = model.restore_boxes(x, 500)
        alone = torch.cat([model.restore_boxes(each[None], 500) for each in x])
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-4)
    assert found.std() > 0


def test_it_works_in_3d_with_noise_that_does():
    model = _model((8, 16, 16), noise="pyramid", channels=2)
    x = torch.rand(2, 2, 8, 16, 16)
    assert model.restore_boxes(x, 500).shape == x.shape
    assert model.loss(Batch(x, x[:, :1], torch.Generator().manual_seed(0)))["loss"] > 0
    with pytest.raises(ConfigError, match="2-D"):
        _model((8, 16, 16)).loss(Batch(x[:, :1], x[:, :1], torch.Generator()))


def test_it_has_the_networks_parameters_and_saves_no_boxes():
    model = _model(channels=3)
    net = DiffusionUNet(channels=3, out=3, size=(32, 32), width=4, multipliers=(1, 2), blocks=1, attention=())
    assert sum(each.numel() for each in model.parameters()) == sum(each.numel() for each in net.parameters())
    assert set(model.state_dict()) == {f"ddpm.net.{name}" for name in net.state_dict()}


def test_the_catalogue_entry_has_the_papers_box_and_start_and_scores_of_diffusion_do_not_apply():
    method = Method.load("pddpm")
    model = build("models", method.model, channels=1, dims=2, size=(96, 96))
    assert model.boxes.shape == (4, 1, 96, 96)
    assert (model.boxes.flatten(1).sum(dim=1) == 48 * 48).all()
    assert method.score["restore"] == {"name": "patched-diffusion", "start": 500}
    assert model.ddpm.kind == "simplex"
    assert model.ddpm.predicts == "image"
    assert model.ddpm.loss_norm == "l1"
    assert not hasattr(model, "denoise")


def test_bad_options_are_refused():
    for options in ({"box": 0.0}, {"box": 1.1}, {"overlap": 1.0}):
        with pytest.raises(ConfigError, match=f"{next(iter(options))}="):
            _model(**options)
    with pytest.raises(ConfigError, match="simplex"):
        _model(noise="simplx")
