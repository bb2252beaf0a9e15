from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.ae import AE
from aberra.models.context_ae import ContextAE
from aberra.nets.masking import STUDY_EDGE, ContextNoise, bounding_box

STUDY = {"boxes": 3, "smallest": STUDY_EDGE, "largest": STUDY_EDGE, "place": "foreground", "fill": "zero"}
ZIMMERER = {"boxes": 3, "smallest": 0.0, "largest": 0.5, "place": "anywhere", "fill": "random"}


def _seeded():
    return torch.Generator().manual_seed(0)


def _ellipse(batch, size):
    """A foreground that touches no border."""
    grids = torch.meshgrid(*[torch.linspace(-1, 1, edge) for edge in size], indexing="ij")
    inside = sum(grid**2 for grid in grids) < 0.6
    return inside.float().expand(batch, 1, *size)


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (32, 64, 32)])
def test_the_studys_boxes_lie_in_the_foregrounds_bounding_box(size):
    mask = _ellipse(64, size)
    low, high = bounding_box(mask)
    nonzero = mask[0, 0].nonzero()
    assert low[0].tolist() == nonzero.amin(dim=0).tolist()
    assert high[0].tolist() == (nonzero.amax(dim=0) + 1).tolist()

    drawn = ContextNoise(**STUDY).draw(mask, _seeded())

    outside = torch.ones(size, dtype=torch.bool)
    outside[tuple(slice(a, b) for a, b in zip(low[0], high[0], strict=True))] = False
    assert not drawn[:, :, outside].any()
    edges = torch.tensor([round(20 / 128 * edge) for edge in size])
    volumes = drawn.flatten(2).sum(dim=2)
    assert set(volumes.unique().tolist()) == {0, int(edges.prod())}
    counts = (volumes > 0).sum(dim=1)
    assert set(counts.tolist()) == {1, 2, 3}
    for axis in range(len(size)):  # places reach both ends of the bounding box
        along = drawn.flatten(0, 1).any(dim=0)
        other = [each for each in range(len(size)) if each != axis]
        assert along.sum(dim=other).gt(0).sum() > 0.8 * (high - low)[0, axis]


def test_boxes_are_zero_and_the_rest_is_untouched():
    mask = _ellipse(8, (64, 64))
    x = torch.rand(8, 2, 64, 64) + 1
    noise = ContextNoise(**STUDY)
    inside = noise.draw(mask, _seeded()).any(dim=1, keepdim=True).expand_as(x)
    found = noise(x, mask, _seeded())
    assert not found[inside].any()
    assert torch.equal(found[~inside], x[~inside])


def test_random_fill_is_one_number_a_box_and_channel_within_the_batchs_range():
    x = torch.rand(64, 2, 32, 32) * torch.tensor([1.0, 10.0]).reshape(1, 2, 1, 1)
    noise = ContextNoise(**ZIMMERER | {"boxes": 1, "smallest": 0.5})
    mask = torch.zeros(64, 1, 32, 32)  # not looked at
    inside = noise.draw(mask, _seeded())[:, 0]
    assert set(inside.flatten(1).sum(dim=1).tolist()) == {16 * 16}
    found = noise(x, mask, _seeded())
    for channel, top in enumerate((1.0, 10.0)):
        values = torch.stack(
            [image[channel][box] for image, box in zip(found, inside, strict=True)]
        )  # (B, pixels)
        assert torch.equal(values.amin(dim=1), values.amax(dim=1))
        assert values.min() >= 0
        assert values.max() <= top
        assert len(values[:, 0].unique()) == 64
        assert values.max() > 0.8 * top


def test_sizes_of_random_squares_go_up_to_half_the_image():
    drawn = ContextNoise(**ZIMMERER).draw(torch.zeros(512, 1, 32, 32), _seeded())
    edges = drawn.any(dim=3).sum(dim=2)
    assert torch.equal(edges, drawn.any(dim=2).sum(dim=2))  # squares
    assert set(edges[edges > 0].tolist()) == set(range(1, 17))
    assert drawn.any(dim=1).float().mean(dim=0).min() > 0  # every place is reached


def test_an_image_without_foreground_keeps_its_pixels():
    x = torch.rand(4, 1, 32, 32)
    assert torch.equal(ContextNoise(**STUDY)(x, torch.zeros_like(x), _seeded()), x)


def test_boxes_larger_than_the_foreground_are_cut_to_it():
    mask = torch.zeros(4, 1, 32, 32)
    mask[..., 10:13, 20:22] = 1
    drawn = ContextNoise(**STUDY).draw(mask, _seeded()).any(dim=1, keepdim=True)
    assert torch.equal(drawn, mask > 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"place": "foregound"}, "Did you mean 'foreground'"),
        ({"fill": "zeros"}, "Did you mean 'zero'"),
        ({"boxes": 0}, "boxes=0: expected 1 or more"),
        ({"smallest": 0.6}, "smallest ≤ largest"),
        ({"largest": 1.5}, r"largest=1.5: expected a number in \[0, 1\]"),
    ],
)
def test_refuses_boxes_that_cannot_be_drawn(change, message):
    with pytest.raises(ConfigError, match=message):
        ContextNoise(**STUDY | change)


@pytest.mark.parametrize(("dims", "size"), [(2, (32, 48)), (3, (16, 32, 16))])
def test_target_is_the_whole_image_and_input_the_masked_one(dims, size):
    torch.manual_seed(0)
    model = ContextAE(channels=2, dims=dims, size=size, width=4, latent=8, dropout=0.0)
    x, mask = torch.rand(3, 2, *size), torch.ones(3, 1, *size)
    seen = {}
    model.encoder.register_forward_pre_hook(lambda _, given: seen.update(x=given[0]))
    restored = {}
    model.decoder.register_forward_hook(lambda _, __, out: restored.update(x=out))

    loss = model.loss(Batch(x, mask, _seeded()))

    assert torch.equal(seen["x"], model.noise(x, mask, _seeded()))
    torch.testing.assert_close(loss["loss"], (restored["x"] - x).abs().sum() / 3)


def test_without_training_it_is_the_autoencoder():
    torch.manual_seed(0)
    context = ContextAE(channels=1, size=(32, 32), width=4, latent=8).eval()
    plain = AE(channels=1, size=(32, 32), width=4, latent=8).eval()
    plain.load_state_dict(context.state_dict())
    x = torch.rand(3, 1, 32, 32)
    expected = plain.loss(Batch(x, torch.ones_like(x), _seeded()))["loss"]
    torch.testing.assert_close(
        context.loss(Batch(x, torch.ones_like(x), _seeded()))["reconstruction"], expected
    )
    torch.testing.assert_close(context.reconstruct(x), plain.reconstruct(x))


def test_it_has_the_autoencoders_parameters():
    count = [
        sum(each.numel() for each in cls(channels=1, size=(128, 128)).parameters()) for cls in (AE, ContextAE)
    ]
    assert count == [1_627_249] * 2
