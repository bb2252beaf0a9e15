from __future__ import annotations

import pytest
import torch

from aberra.capabilities import LearnsFromLesions, LearnsFromPlanted, Segments, Trains
from aberra.detector.windows import Runner
from aberra.errors import ConfigError
from aberra.models.anomaly_segmenter import AnomalySegmenter


def _model(**options):
    torch.manual_seed(0)
    return AnomalySegmenter(**{"channels": 1, "size": (16, 16, 16), "widths": (4, 8, 8)} | options)


@pytest.mark.parametrize("dims", [2, 3])
def test_what_it_can_do(dims):
    model = _model(dims=dims, size=(16,) * dims, channels=2)
    assert isinstance(model, Trains)
    assert isinstance(model, Segments)
    assert isinstance(model, LearnsFromPlanted)
    assert not isinstance(model, LearnsFromLesions)  # nobody's masks are needed
    x = torch.rand(2, 2, *(16,) * dims)
    with torch.inference_mode():
        first, second = model.segmentations(x, 2)
        (mirrored, _) = model.segmentations(x.flip(-1), 2)
    assert first.shape == (2, 3, *(16,) * dims)
    assert (first.sum(dim=1) <= 1).all()
    torch.testing.assert_close(mirrored.flip(-1), second)


def test_it_learns_which_way_a_voxel_departs():
    model = _model()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(2, 1, 16, 16, 16)
    for _ in range(120):
        lesion = torch.zeros_like(mask)
        for image in lesion:
            for value in (1, 2):
                low = torch.randint(0, 10, (3,), generator=generator).tolist()
                image[(0, *(slice(i, i + 5) for i in low))] = value
        x = 0.1 * torch.randn(mask.shape, generator=generator) + (lesion == 1).float() - (lesion == 2).float()
        losses = model.loss(x, mask, generator, lesion=lesion)
        optimiser.zero_grad()
        losses["loss"].backward()
        optimiser.step()
    with torch.inference_mode():
        found = next(model.eval().segmentations(x, 1))
    assert found[:, 0][lesion[:, 0] == 1].mean() > 0.6
    assert found[:, 1][lesion[:, 0] == 2].mean() > 0.6
    assert found.sum(dim=1)[lesion[:, 0] == 0].mean() < 0.2


def test_voxels_outside_the_mask_do_not_count():
    model = _model()
    x, mask = torch.rand(1, 1, 16, 16, 16), torch.zeros(1, 1, 16, 16, 16)
    mask[..., :8] = 1
    one, other = torch.zeros_like(mask), torch.zeros_like(mask)
    other[..., 8:] = 1
    losses = [
        float(model.loss(x, mask, torch.Generator(), lesion=each)["loss"].detach()) for each in (one, other)
    ]
    assert losses[0] == losses[1]


def test_sizes_that_cannot_be_halved_and_single_levels_are_refused():
    with pytest.raises(ConfigError, match="divisible by 4"):
        _model(size=(18, 16, 16))
    with pytest.raises(ConfigError, match="two levels"):
        _model(widths=(4,))


def test_a_whole_brain_is_seen_in_one_pass():
    seen = []
    mask = torch.zeros(40, 50, 30, dtype=torch.bool)
    mask[10:30, 5:40, 8:21] = True
    x = torch.rand(1, *mask.shape) * mask

    def look(batch):
        seen.append(tuple(batch.shape))
        return batch * 2

    found = Runner(dims=3, size=(16, 16, 16), grows=8)(look, x, mask)
    assert len(seen) == 1
    assert all(edge % 8 == 0 for edge in seen[0][2:])
    torch.testing.assert_close(found * mask, 2 * x)
    assert found.shape == x.shape
