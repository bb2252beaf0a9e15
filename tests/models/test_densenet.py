from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.densenet import DenseNet


def _model(**options):
    torch.manual_seed(0)
    return DenseNet(**({"channels": 1, "size": (16, 16), "blocks": (2,), "growth": 4, "width": 4} | options))


def test_it_learns_by_cross_entropy_of_the_label():
    model, x = _model().eval(), torch.rand(4, 1, 16, 16)
    lesion = torch.zeros_like(x)
    lesion[1, :, 3, 3] = 1
    found = model.loss(Batch(x, torch.ones_like(x), torch.Generator(), lesion=lesion))
    logits = model.class_logits(model.class_maps(x))
    torch.testing.assert_close(found["loss"], F.cross_entropy(logits, torch.tensor([0, 1, 0, 0])))
    assert found["accuracy"].item() == pytest.approx(
        (logits.argmax(dim=1) == lesion.amax((1, 2, 3))).float().mean()
    )


def test_the_thesis_classifier():
    with torch.device("meta"):
        model = DenseNet(channels=1, size=(256, 256))
    assert sum(each.numel() for each in model.parameters()) == 12_481_538


@pytest.mark.parametrize("blocks", [(), (1,) * 9])
def test_numbers_of_blocks_that_cannot_be(blocks):
    with pytest.raises(ConfigError, match="dense block"):
        _model(blocks=blocks)
