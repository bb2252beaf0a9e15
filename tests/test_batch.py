"""What models are shown of a training step."""

from __future__ import annotations

import pytest
import torch
from lightning.fabric.plugins.precision import MixedPrecision

from aberra.batch import Batch
from aberra.errors import TrainingError


def _batch(**rest):
    return Batch(torch.rand(2, 1, 4, 4), torch.ones(2, 1, 4, 4), torch.Generator(), **rest)


def test_the_truth_is_the_lesion_or_an_error():
    lesion = torch.ones(2, 1, 4, 4)
    assert _batch(lesion=lesion).truth is lesion
    with pytest.raises(TrainingError, match="samples have no truth"):
        _ = _batch().truth


def test_what_is_known_of_people_is_there_or_an_error():
    covariates = torch.zeros(2, 1)
    assert _batch(covariates=covariates).known is covariates
    with pytest.raises(TrainingError, match="samples have none"):
        _ = _batch().known


def test_lightning_converts_the_tensors_and_leaves_the_rest():
    batch = _batch(turn="critic", step=3, progress=0.5)
    (seen,) = MixedPrecision("bf16-mixed", "cpu").convert_input((batch,))
    assert isinstance(seen, Batch)
    assert seen.x.dtype == torch.bfloat16
    assert seen.generator is batch.generator
    assert seen[3:] == (None, None, "critic", 3, 0.5, None, None)
