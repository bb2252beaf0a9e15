from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from aberra.batch import Batch
from aberra.capabilities import Denoises, LearnsFromLesions, PredictsVariance, Segments, Trains
from aberra.errors import ConfigError
from aberra.models.ddpm_segmenter import DDPMSegmenter
from aberra.models.segnet import SegNet, sampled_cross_entropy, unpool
from aberra.scores.segmentation import Segmentation


def _segnet(**options):
    torch.manual_seed(0)
    given = {"channels": 2, "size": (16, 16), "width": 4, "levels": 2} | options
    return SegNet(**given).eval()


def _segmenter(**options):
    torch.manual_seed(0)
    model = DDPMSegmenter(
        **{"channels": 2, "size": (16, 16), "network": {"width": 4, "multipliers": (1, 2)}, "timesteps": 20} | options
    ).eval()  # fmt: skip
    for weight in model.parameters():  # the last convolution starts as zero
        nn.init.normal_(weight, std=0.1)
    return model


def _seed(number=0):
    return torch.Generator().manual_seed(number)


def _batch(dims=2):
    size = (16,) * dims
    x = torch.rand(3, 2, *size, generator=_seed(1))
    lesion = (torch.rand(3, 1, *size, generator=_seed(2)) < 0.2).float()
    return x, torch.ones_like(lesion), lesion


@pytest.mark.parametrize("make", [_segnet, _segmenter])
@pytest.mark.parametrize("dims", [2, 3])
def test_what_they_can_do(make, dims):
    model = make(dims=dims, size=(16,) * dims)
    assert isinstance(model, Trains)
    assert isinstance(model, LearnsFromLesions)
    assert isinstance(model, Segments)
    assert not isinstance(model, Denoises)  # a mask is not a healthy image
    x, mask, lesion = _batch(dims)
    loss = model.loss(Batch(x, mask, _seed(), lesion=lesion))["loss"]
    loss.backward()
    assert all(each.grad is not None for each in model.parameters())
    with torch.inference_mode():
        drawn = list(model.segmentations(x, 2))
    assert len(drawn) == 2
    for each in drawn:
        assert each.shape == lesion.shape
        assert 0 <= each.min() <= each.max() <= 1


@pytest.mark.parametrize(
    ("model", "use"),
    [
        (_segnet(dropout=0.5), {}),
        (_segmenter(), {"steps": 4}),
        (_segmenter(), {"steps": 4, "sampler": "ddim"}),
        (_segmenter(), {"steps": 4, "sampler": "dpm-solver"}),
    ],
)
@torch.inference_mode()
def test_draws_depend_on_their_number_alone(model, use):
    x, _, _ = _batch()
    three, four = list(model.segmentations(x, 3, **use)), list(model.segmentations(x, 4, **use))
    for few, many in zip(three, four, strict=False):
        torch.testing.assert_close(few, many, rtol=0, atol=0)
    assert not torch.equal(three[0], three[1])
    alone = list(model.segmentations(x[1:2], 3, **use))
    for together, single in zip(three, alone, strict=True):
        torch.testing.assert_close(together[1:2], single, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_one_draw_or_no_dropout_is_the_plain_network():
    x, _, _ = _batch()
    dropped, plain = _segnet(dropout=0.5), _segnet()
    torch.testing.assert_close(next(dropped.segmentations(x, 1)), torch.sigmoid(dropped(x)))
    first, second = plain.segmentations(x, 2)
    assert torch.equal(first, second)
    torch.testing.assert_close(dropped(x), plain(x))


def test_unpooling_puts_maxima_back_where_they_were():
    for dims, pool, reference in ((2, F.max_pool2d, F.max_unpool2d), (3, F.max_pool3d, F.max_unpool3d)):
        x = torch.randn(2, 3, *(8,) * dims, generator=_seed())
        values, indices = pool(x, 2, return_indices=True)
        found = unpool(values, indices, x.shape[2:])
        assert torch.equal(found, reference(values, indices, 2))
        assert torch.equal(found[found != 0], x[found != 0])


def test_full_size_is_vgg16_twice():
    net = SegNet(channels=3, size=(32, 32))
    encoder = sum(each.weight.numel() for each in net.encoder.modules() if isinstance(each, nn.Conv2d))
    assert encoder == 14_710_464  # the thirteen convolutions of VGG16 without biases
    convolutions = [each for each in net.modules() if isinstance(each, nn.Conv2d)]
    assert len(convolutions) == 26
    assert net.decoder[0][-1].out_channels == 1


def test_the_loss_is_that_of_the_foreground():
    model = _segnet()
    x, _, lesion = _batch()
    mask = torch.zeros_like(lesion)
    mask[..., :8, :] = 1
    found = model.loss(Batch(x, mask, _seed(), lesion=lesion))["loss"]
    expected = F.binary_cross_entropy_with_logits(model(x)[..., :8, :], lesion[..., :8, :])
    torch.testing.assert_close(found, expected)
    other = lesion.clone()
    other[..., 8:, :] = 1 - other[..., 8:, :]
    torch.testing.assert_close(model.loss(Batch(x, mask, _seed(), lesion=other))["loss"], found)


def test_the_sampled_loss_without_spread_is_cross_entropy_and_with_it_an_integral():
    logit = torch.tensor([-2.0, 0.3, 4.0]).reshape(1, 1, 3)
    truth = torch.tensor([0.0, 1.0, 0.0]).reshape(1, 1, 3)
    sharp = sampled_cross_entropy(logit, torch.full_like(logit, -10), truth, 4, _seed())
    expected = F.binary_cross_entropy_with_logits(logit, truth, reduction="none")
    torch.testing.assert_close(sharp, expected, atol=0.03, rtol=0.03)

    spread = 2.0
    found = sampled_cross_entropy(logit, torch.full_like(logit, spread).log() * 2, truth, 200_000, _seed())
    grid = torch.linspace(-8, 8, 4001)
    weight = torch.exp(-(grid**2) / 2) / torch.exp(-(grid**2) / 2).sum()
    sign = 2 * truth - 1
    integral = -(torch.sigmoid(sign[..., None] * (logit[..., None] + spread * grid)) * weight).sum(-1).log()
    torch.testing.assert_close(found, integral, atol=0.02, rtol=0.02)


def test_only_a_model_that_predicts_variance_is_asked_for_it():
    model = _segnet(aleatoric=True)
    x, mask, lesion = _batch()
    assert isinstance(model, PredictsVariance)
    variance = model.predicted_variance(x)
    assert variance.shape == lesion.shape
    torch.testing.assert_close(variance.log(), model(x)[:, 1:])
    model.loss(Batch(x, mask, _seed(), lesion=lesion))["loss"].backward()
    with pytest.raises(ConfigError, match=r"aleatoric=true"):
        _segnet().predicted_variance(x)


class Knows(nn.Module):
    """Told everything: predicts the noise in any noisy version of one mask."""

    def __init__(self, model, lesion):
        super().__init__()
        self.schedule, self.mask = model.masks.schedule, 2 * lesion - 1

    def forward(self, x, t, _label=None, _conditions=None):
        noisy = x[:, -1:]
        level = self.schedule.at(t, noisy)
        noise = (noisy - level.sqrt() * self.mask) / (1 - level).sqrt()
        return torch.cat([noise, torch.zeros_like(noise)], dim=1)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm-solver"])
@pytest.mark.parametrize("steps", [1, 5, 20])
@torch.inference_mode()
def test_a_network_that_knows_the_mask_draws_it(sampler, steps):
    model = _segmenter()
    x, _, lesion = _batch()
    model.masks.net = Knows(model, lesion)
    for drawn in model.segmentations(x, 2, steps=steps, sampler=sampler):
        torch.testing.assert_close(drawn, lesion, atol=1e-2, rtol=0)  # ᾱ_T is small: digits are lost


@torch.inference_mode()
def test_the_network_is_called_once_a_step_and_sees_the_image_unchanged():
    model = _segmenter()
    x, _, _ = _batch()
    seen = []
    model.masks.net.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    list(model.segmentations(x, 2, steps=7))
    assert len(seen) == 14
    assert all(torch.equal(each[:, :2], x) for each in seen)
    noise = {tuple(each[0, 2, 0].tolist()) for each in seen}
    assert len(noise) == 14


def test_the_published_network_has_as_many_parameters_as_counted():
    model = DDPMSegmenter(
        channels=4,
        size=(256, 256),
        network={"width": 128, "multipliers": (1, 1, 2, 2, 4, 4), "blocks": 2, "attention": (16,)},
    )
    assert sum(each.numel() for each in model.parameters()) == 113_674_370


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="Did you mean 'ddim'"):
        Segmentation(sampler="dim")
    with pytest.raises(ConfigError, match="levels=6"):
        _segnet(levels=6)
    with pytest.raises(ConfigError, match="divisible by 8"):
        _segnet(size=(12, 12), levels=3)
