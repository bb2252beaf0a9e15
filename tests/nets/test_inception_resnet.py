from __future__ import annotations

import pytest
import torch

from aberra.models.l2i import L2I
from aberra.nets.inception_resnet import halvings, inception_resnet


def test_the_parameters_are_those_that_the_publication_prints():
    with torch.device("meta"):
        model = L2I(channels=1, dims=3, size=(124, 120, 172), width=32, target="basel")
    assert sum(each.numel() for each in model.parameters()) == 36_431_842
    assert sum(each.numel() for each in model.head.classifier.parameters()) == 258
    assert sum(each.numel() for each in model.head.centres.parameters()) == 256


def test_parameters_do_not_depend_on_the_size():
    with torch.device("meta"):
        counts = {
            sum(each.numel() for each in inception_resnet(channels=1, dims=3, size=size).parameters())
            for size in ((32, 32, 32), (64, 48, 64), (124, 120, 172))
        }
    assert len(counts) == 1


@pytest.mark.parametrize(("dims", "size"), [(2, (32, 40)), (3, (16, 24, 16)), (2, (7, 9))])
def test_images_become_vectors(dims, size):
    net = inception_resnet(channels=2, dims=dims, size=size, width=4)
    found = net(torch.rand(2, 2, *size))
    assert found.shape == (2, net.features) == (2, 1792 // 8)


@pytest.mark.parametrize("size", [(32, 32), (100, 96, 120), (7, 7), (5, 5)])
def test_no_layer_normalises_a_single_voxel(size):
    edge = min(size)
    for _ in range(halvings(size)):
        edge = -(-edge // 2)
    assert edge >= 3


def test_gain_and_offset_of_an_image_are_normalised_away():
    torch.manual_seed(0)
    net = inception_resnet(channels=1, dims=2, size=(32, 32), width=4).eval()
    x = torch.rand(2, 1, 32, 32)
    assert torch.allclose(net(x), net(3 * x), atol=1e-3)
