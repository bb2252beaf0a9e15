"""Networks of the methods that learn from labels: the numbers of parameters that were printed."""

from __future__ import annotations

import pytest
import torch

from aberra.errors import ConfigError
from aberra.nets import descargan, stargan
from aberra.nets.critic import instance_noise
from aberra.nets.densenet import DenseNet, pooled
from aberra.nets.descargan import EvalNorm, of_class


def _count(network):
    return sum(each.numel() for each in network.parameters())


def test_descargan_has_the_thesis_numbers_of_parameters():
    with torch.device("meta"):
        shape = {"channels": 1, "size": (256, 256)}
        assert _count(descargan.Generator(**shape)) == 8_528_262
        assert _count(descargan.Critic(**shape)) == 18_170_180
        assert _count(descargan.Critic(**shape, judges=False)) == 8_729_922


def test_stargan_has_the_papers():
    with torch.device("meta"):
        shape = {"channels": 3, "size": (128, 128), "classes": 8}
        assert _count(stargan.Generator(**shape)) + _count(stargan.Critic(**shape)) == 53_226_560  # "53.2M"


def test_densenet_169_has_torchvisions():
    with torch.device("meta"):
        network = DenseNet(channels=3, dims=2, blocks=(6, 12, 32, 32), growth=32, width=64)
    assert network.features == 1664
    assert _count(network) + 1664 * 1000 + 1000 == 14_149_480


@pytest.mark.parametrize("dims", [2, 3])
def test_densenet_halves_twice_and_once_between_blocks(dims):
    network = DenseNet(channels=1, dims=dims, blocks=(2, 1), growth=3, width=4).eval()
    maps = network(torch.rand(2, 1, *[32] * dims))
    assert maps.shape == (2, network.features, *[4] * dims)
    assert network.features == (4 + 2 * 3) // 2 + 3
    torch.testing.assert_close(pooled(maps), maps.mean(dim=tuple(range(2, 2 + dims))))


def test_norm_by_an_images_own_statistics_is_training_mode_with_one_image():
    torch.manual_seed(0)
    own, running = EvalNorm(3, own=True), EvalNorm(3, own=False)
    running.load_state_dict(own.state_dict())
    torch.nn.init.normal_(own.weight)
    running.weight.data.copy_(own.weight)
    x = 2 + 3 * torch.randn(4, 3, 8, 8)
    own.train()
    alone = torch.cat([own(each[None]) for each in x])
    own.eval()
    torch.testing.assert_close(own(x), alone)
    running.eval()
    scale = running.weight[:, None, None] / (1 + running.eps) ** 0.5
    torch.testing.assert_close(running(x), x * scale)  # mean 0 and variance 1 until it has learnt


def test_each_sample_has_its_own_classs_answer():
    answers = torch.arange(6.0).reshape(2, 3)
    assert of_class(answers, torch.tensor([1, 0, 1])).tolist() == [3.0, 1.0, 5.0]


@pytest.mark.parametrize("network", [descargan, stargan])
def test_a_generator_does_as_it_is_told(network):
    torch.manual_seed(0)
    generator = network.Generator(channels=1, size=(16, 16), width=4).eval()
    x = torch.rand(2, 1, 16, 16)
    mixed = generator(x, torch.tensor([0, 1]))
    for index, target in enumerate((0, 1)):
        alone = generator(x[index, None], torch.tensor([target]))
        torch.testing.assert_close(mixed[index, None], alone, rtol=1e-3, atol=1e-4)
    other = generator(x, torch.tensor([1, 0]))
    assert (other - mixed).abs().max() > 1e-2


def test_scores_are_those_of_the_class_asked_for():
    torch.manual_seed(0)
    critic = descargan.Critic(channels=1, size=(16, 16), width=2).eval()
    x = torch.rand(2, 1, 16, 16)
    scores, logits = critic(x)
    torch.testing.assert_close(
        critic.score(x, torch.tensor([1, 0])), torch.stack([scores[0, 1], scores[1, 0]])
    )
    torch.testing.assert_close(critic.logits(x), logits)


def test_noise_is_drawn_from_the_generator_alone_and_never_lowers():
    x = torch.rand(2, 1, 8, 8)
    first, again = (instance_noise(x, 0.1, torch.Generator().manual_seed(3)) for _ in range(2))
    torch.testing.assert_close(first, again)
    assert (first - x).min() >= 0
    assert (first - x).max() < 0.1
    assert instance_noise(x, 0.0, torch.Generator()) is x


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: descargan.Generator(channels=1, size=(20, 20)),
        lambda: descargan.Generator(channels=1, size=(8, 8)),
        lambda: descargan.Critic(channels=1, size=(32, 32), levels=5),
        lambda: descargan.Critic(channels=1, size=(512, 512), levels=6),
        lambda: stargan.Generator(channels=1, size=(18, 18)),
        lambda: stargan.Critic(channels=1, size=(24, 24), levels=4),
    ],
)
def test_sizes_that_cannot_be_halved(wrong):
    with pytest.raises(ConfigError, match="size"):
        wrong()
