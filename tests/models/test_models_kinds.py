"""Models that tell kinds of lesion apart: bright discs have the value 1 in the mask, dark ones 4."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.kinds import one_hot
from aberra.models.ddpm_segmenter import DDPMSegmenter
from aberra.models.segnet import SegNet

SIZE = (16, 16)


def _segnet(**options):
    torch.manual_seed(0)
    return SegNet(**({"channels": 1, "size": SIZE, "width": 8, "levels": 2} | options))


def _segmenter(**options):
    torch.manual_seed(0)
    small = {
        "channels": 1,
        "size": SIZE,
        "width": 4,
        "multipliers": (1, 2),
        "timesteps": 20,
    }
    return DDPMSegmenter(**(small | options))


def _seed(number=0):
    return torch.Generator().manual_seed(number)


def _toy(count, seed):
    """Noisy images with a bright and a dark disc each, (B, 1, S), foreground and label values."""
    generator = _seed(seed)
    rows, columns = torch.meshgrid(*map(torch.arange, SIZE), indexing="ij")
    x = 0.5 + 0.05 * torch.randn(count, 1, *SIZE, generator=generator)
    lesion = torch.zeros_like(x)
    for image, truth in zip(x, lesion, strict=True):
        left = int(torch.randint(2, (1,), generator=generator))
        for side, (value, level) in enumerate(((1, 0.4), (4, -0.4))):
            row = int(torch.randint(4, 12, (1,), generator=generator))
            column = 4 if side == left else 11
            disc = (rows - row) ** 2 + (columns - column) ** 2 <= 8
            image[0][disc] += level
            truth[0][disc] = value
    return x, torch.ones_like(x), lesion


def _trained(model, steps):
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    generator = _seed(1)
    model.train()
    for step in range(steps):
        x, mask, lesion = _toy(8, 100 + step)
        loss = model.loss(Batch(x, mask, generator, lesion=lesion))["loss"]
        adam.zero_grad()
        loss.backward()
        adam.step()
    return model.eval()


def test_label_values_become_channels_and_others_background():
    values = torch.tensor([0.0, 1.0, 2.0, 4.0]).reshape(1, 1, 4)
    assert one_hot(values, (4, 1)).tolist() == [[[0, 0, 0, 1], [0, 1, 0, 0]]]
    assert one_hot(values, ()) is values


@pytest.mark.parametrize("make", [_segnet, _segmenter])
def test_without_kinds_nothing_changes_and_each_kind_costs_one_channel(make):
    plain, none, three = make().state_dict(), make(kinds=[]).state_dict(), make(kinds=[1, 2, 4]).state_dict()
    assert all(torch.equal(tensor, none[name]) for name, tensor in plain.items())
    assert plain.keys() == three.keys()
    grown = {name for name, tensor in plain.items() if tensor.shape != three[name].shape}
    assert {name.rsplit(".", 1)[0] for name in grown} == (
        {"decoder.0.3"} if make is _segnet else {"masks.net.first", "masks.net.last"}
    )


@pytest.mark.parametrize("make", [_segnet, _segmenter])
@pytest.mark.parametrize(("kinds", "dims"), [([4], 2), ([1, 4], 2), ([1, 2, 4], 3)])
def test_each_kind_has_a_probability_and_all_together_at_most_one(make, kinds, dims):
    model = make(kinds=kinds, dims=dims, size=(16,) * dims).eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.5)
    x = torch.rand(2, 1, *(16,) * dims, generator=_seed(3))
    with torch.inference_mode():
        drawn = list(model.segmentations(x, 2))
        alone = next(model.segmentations(x[1:], 1))
    assert len(drawn) == 2
    for each in drawn:
        assert each.shape == (2, len(kinds), *x.shape[2:])
        assert 0 <= each.min() <= each.max() <= 1
        assert each.sum(dim=1).max() <= 1 + 1e-6
        assert each.sum(dim=1).max() > 0.5
    torch.testing.assert_close(drawn[0][1:], alone, atol=1e-4, rtol=1e-3)


def test_a_segnet_names_the_kind_of_unseen_lesions():
    model = _trained(_segnet(kinds=[1, 4]), 60)
    x, _, lesion = _toy(32, 0)
    with torch.inference_mode():
        told = next(model.segmentations(x, 1))
    likeliest = torch.where(told.sum(dim=1) > 0.5, torch.tensor([1, 4])[told.argmax(dim=1)], 0)
    for value in (0, 1, 4):
        assert (likeliest[lesion[:, 0] == value] == value).float().mean() > 0.8


def test_a_segmenter_draws_the_kinds_in_their_channels():
    model = _trained(_segmenter(kinds=[1, 4], predicts="image", width=8), 200)
    x, _, lesion = _toy(16, 0)
    with torch.inference_mode():
        told = next(model.segmentations(x, 1))
    assert 0 <= told.min() <= told.max() <= 1
    truth = one_hot(lesion, (1, 4)) > 0
    for own, other in ((0, 1), (1, 0)):
        assert told[:, own][truth[:, own]].mean() > 2 * told[:, other][truth[:, own]].mean()


def test_a_value_that_was_not_asked_for_is_background():
    x, mask, lesion = _toy(4, 0)
    bright = torch.where(lesion == 1, lesion, 0)
    for model in (_segnet(kinds=[1]), _segmenter(kinds=[1])):
        for weight in model.parameters():  # the last convolution of a diffusion network starts as zero
            nn.init.normal_(weight, std=0.1)
        found, expected = (
            model.loss(Batch(x, mask, _seed(), lesion=truth))["loss"] for truth in (lesion, bright)
        )
        assert torch.equal(found, expected)
        assert not torch.equal(model.loss(Batch(x, mask, _seed(), lesion=0 * lesion))["loss"], expected)


def test_the_loss_is_cross_entropy_over_background_and_kinds_in_the_foreground():
    model = _segnet(kinds=[4, 1]).eval()
    x, mask, lesion = _toy(4, 0)
    mask[..., :5, :] = 0
    index = torch.zeros_like(lesion).masked_fill(lesion == 4, 1).masked_fill(lesion == 1, 2).long()
    told = torch.log_softmax(model(x), dim=1).gather(1, index)
    expected = -told[mask > 0].mean()
    torch.testing.assert_close(model.loss(Batch(x, mask, _seed(), lesion=lesion))["loss"], expected)


def test_kinds_that_cannot_be_are_refused():
    for kinds in ([0, 1], [1, 1], [256], [1.5]):
        with pytest.raises(ConfigError, match=r"model\.kinds="):
            _segnet(kinds=kinds)
        with pytest.raises(ConfigError, match=r"model\.kinds="):
            _segmenter(kinds=kinds)
    with pytest.raises(ConfigError, match=r"model\.aleatoric"):
        _segnet(kinds=[1, 2], aleatoric=True)
