from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from aberra.errors import ConfigError
from aberra.nets.sphere import Centres, SphereGuide, SphereHead


def _points(count=6, features=5, seed=0):
    x = torch.randn(count, features, generator=torch.Generator().manual_seed(seed))
    return F.normalize(x, dim=1).requires_grad_(), torch.arange(count) % 2


def test_the_losses_are_the_publications_double_loop():
    torch.manual_seed(0)
    centres, (f, classes) = Centres(5, radius=0.1, distance=1.9), _points()
    o = (centres.raw / centres.raw.norm(dim=1, keepdim=True)).detach()
    latent, centring = 0.0, 0.0
    for each, i in zip(f.detach(), classes.tolist(), strict=True):
        gap = max(float((each - o[i]).norm()) - 0.1, 0) ** 2
        latent += gap
        centring += gap + sum(0.5 * max(1.9 - float((o[k] - o[i]).norm()), 0) ** 2 for k in (0, 1) if k != i)
    assert centres.latent(f, classes).item() == pytest.approx(latent / 6, rel=1e-5)
    assert centres.centring(f, classes).item() == pytest.approx(centring / 6, rel=1e-5)


def test_centres_have_length_one():
    assert torch.allclose(Centres(7, radius=0.1, distance=1.9).points.norm(dim=1), torch.ones(2))


def test_within_the_margins_nothing_is_lost_and_nothing_moves():
    centres = Centres(4, radius=0.1, distance=1.9, fixed=True)
    near = F.normalize(centres.points + 0.02 * torch.tensor([[1.0, -1, 0, 0], [0, 1, -1, 0]]), dim=1)
    near = near.detach().requires_grad_()
    loss = centres.centring(near, torch.tensor([0, 1]))
    (gradient,) = torch.autograd.grad(loss, near)
    assert not loss
    assert not gradient.any()


def test_without_margins_only_the_centre_itself_and_opposite_points_cost_nothing():
    centres = Centres(4, radius=0.0, distance=2.0, fixed=True)
    classes = torch.tensor([0, 1])
    assert centres.centring(centres.points, classes).item() == pytest.approx(0, abs=1e-10)
    off = F.normalize(centres.points + 0.01 * torch.eye(4)[:2], dim=1)
    assert centres.centring(off, classes) > 0


def test_latent_moves_no_centre_and_centring_moves_both():
    torch.manual_seed(0)
    centres, (f, classes) = Centres(5, radius=0.1, distance=1.9), _points()
    centres.latent(f, classes).backward()
    assert centres.raw.grad is None
    assert f.grad.any()
    f.grad = None
    centres.centring(f, classes).backward()
    assert centres.raw.grad.any()
    assert f.grad.any()


def test_fixed_centres_do_not_learn():
    centres = Centres(5, radius=0.1, distance=1.9, fixed=True)
    assert not list(centres.parameters())
    assert torch.allclose(centres.points[0], -centres.points[1])
    assert (centres.points[0] - centres.points[1]).norm().item() == pytest.approx(2)


def test_classification_does_not_move_the_features():
    head, (f, classes) = SphereHead(5, centring=0.0, latent=0.0), _points()
    losses = head.losses(f, classes, [])
    losses["classification"].backward()
    assert f.grad is None
    assert head.classifier.weight.grad.any()
    assert head.centres.raw.grad is None


def test_the_total_is_weighted():
    head, (f, classes) = SphereHead(5, centring=7.0, latent=3.0), _points()
    found = head.losses(f, classes, [4, 5])
    total = found["classification"] + 7 * found["centring"] + 3 * found["latent"]
    assert found["loss"].item() == pytest.approx(total.item())


@pytest.mark.parametrize(("radius", "distance"), [(1.0, 1.9), (0.1, 2.1), (0.95, 1.9)])
def test_margins_that_cannot_be_are_refused(radius, distance):
    with pytest.raises(ConfigError, match="2·radius < distance"):
        Centres(4, radius=radius, distance=distance)


class _Mean(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = torch.nn.Linear(4, 5)

    def forward(self, x, steps):
        return self.dense(x.flatten(1)) + 0 * steps[:, None]


def test_a_guide_learns_its_encoder_from_centres_only():
    guide = SphereGuide(_Mean(), 5)
    x, steps, classes = torch.randn(4, 1, 2, 2), torch.ones(4), torch.tensor([0, 1, 0, 1])
    losses = guide.losses(x, steps, classes, torch.tensor([True, True, False, False]))
    losses["classification"].backward(retain_graph=True)
    assert guide.encoder.dense.weight.grad is None
    losses["loss"].backward()
    assert guide.encoder.dense.weight.grad.any()
    assert torch.allclose(guide.code(x, steps).norm(dim=1), torch.ones(4))
    nobody = guide.losses(x, steps, classes, torch.zeros(4, dtype=torch.bool))
    assert "centring" not in nobody
