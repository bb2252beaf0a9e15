from __future__ import annotations

import pytest
import torch

from aberra.detector.windows import Runner
from aberra.errors import PairingError
from aberra.models.d_cls import DCls
from aberra.models.densenet import DenseNet
from aberra.models.stargan import StarGAN
from aberra.nets.densenet import enlarged, pooled
from aberra.scores import check_pairing
from aberra.scores.attribution import Attribution, cam, grad_cam, saliency


class Linear(torch.nn.Module):
    """The image's channels are its maps; log-odds = weights · means."""

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def class_maps(self, x):
        return x

    def class_weights(self):
        return torch.stack([torch.zeros_like(self.weights), self.weights])

    def class_logits(self, maps):
        return pooled(maps) @ self.class_weights().T

    def classify(self, x):
        return self.class_logits(x).log_softmax(dim=1)


WEIGHTS = torch.tensor([2.0, -1.0])


def test_class_activation_of_a_linear_head_is_its_weighted_maps():
    x = torch.rand(3, 2, 8, 8)
    expected = (2 * x[:, :1] - x[:, 1:]).clamp(min=0)
    torch.testing.assert_close(cam(Linear(WEIGHTS), x), expected)
    torch.testing.assert_close(grad_cam(Linear(WEIGHTS), x), expected / 64)


def test_saliency_of_a_linear_classifier_is_its_largest_weight():
    found = saliency(Linear(WEIGHTS), torch.rand(3, 2, 8, 8))
    torch.testing.assert_close(found, torch.full((3, 1, 8, 8), 2 / 64))


def test_saliency_is_the_finite_difference_of_the_log_odds():
    torch.manual_seed(0)
    model = DenseNet(channels=1, size=(16, 16), blocks=(2,), growth=4, width=4).eval().double()
    x, step = torch.rand(1, 1, 16, 16, dtype=torch.double), torch.zeros(1, 1, 16, 16, dtype=torch.double)
    step[..., 5, 7] = 1e-6
    up, down = (model.classify(x + sign * step) for sign in (1, -1))
    change = ((up - down)[0, 1] - (up - down)[0, 0]) / 2e-6
    torch.testing.assert_close(saliency(model, x)[0, 0, 5, 7], change.abs(), rtol=1e-4, atol=1e-8)


def test_grad_cam_of_a_densenet_is_its_class_activation():
    torch.manual_seed(0)
    model = DenseNet(channels=1, size=(16, 16), blocks=(2,), growth=4, width=4).eval()
    x = torch.rand(3, 1, 16, 16)
    maps = model.class_maps(x)
    assert maps.shape[2:] == (4, 4)
    torch.testing.assert_close(16 * grad_cam(model, x), cam(model, x))
    weights = model.head.weight[1] - model.head.weight[0]
    told = torch.einsum("k,bkhw->bhw", weights, maps)[:, None].clamp(min=0)
    torch.testing.assert_close(cam(model, x), enlarged(told, (16, 16)))


@pytest.mark.parametrize("of", ["cam", "grad-cam", "saliency"])
def test_maps_of_a_volume(of):
    x, mask = torch.rand(2, 3, 8, 8), torch.ones(3, 8, 8, dtype=torch.bool)
    found = Attribution(of=of)(Linear(WEIGHTS), x, mask, Runner(dims=2, size=(8, 8))).map
    assert found.shape == (3, 8, 8)
    assert found.max() > 0


def test_what_each_needs():
    for of in ("cam", "grad-cam", "saliency"):
        check_pairing(DenseNet, Attribution(of=of))
    check_pairing(DCls, Attribution(of="grad-cam"))
    check_pairing(StarGAN, Attribution(of="saliency"))
    with pytest.raises(PairingError, match="needs ClassifiesFromMeans"):
        check_pairing(DCls, Attribution(of="cam"))
    with pytest.raises(PairingError, match="needs ClassifiesFromMaps"):
        check_pairing(StarGAN, Attribution(of="grad-cam"))
