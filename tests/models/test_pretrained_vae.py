from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.context_restoration import ContextRestoration
from aberra.models.pretrained_vae import PretrainedVAE
from aberra.training import TrainingConfig, train
from small_scans import scan

SHAPE = {"channels": 1, "size": (16, 16), "network": {"width": 2}}


def _model(**options):
    torch.manual_seed(0)
    return PretrainedVAE(**SHAPE | options)


def _batch(x, **options):
    return Batch(x, torch.ones_like(x), torch.Generator().manual_seed(0), **options)


def test_the_first_stage_restores_patches_and_the_second_reconstructs():
    model, x, seen = _model(pretraining=0.5).eval(), torch.rand(3, 1, 16, 16), []
    model.encoder.register_forward_pre_hook(lambda *given: seen.append(given[1][0]))
    swapped = model.swap(x, torch.ones_like(x), torch.Generator().manual_seed(0))
    for options, expected in (
        ({"turn": "restoration", "progress": 0.9}, swapped),
        ({"turn": "reconstruction", "progress": 0.1}, x),
        ({"progress": 0.49}, swapped),  # validation
        ({"progress": 0.5}, x),
    ):
        losses = model.loss(_batch(x, **options))
        assert torch.equal(seen.pop(), expected), options
        assert losses["loss"] == losses["reconstruction"]


def test_without_pretraining_there_is_one_stage():
    model = _model(pretraining=0)
    assert [model.turns(progress) for progress in (0.0, 0.99)] == [("reconstruction",)] * 2


def test_weights_are_those_of_context_restoration():
    first, second = ContextRestoration(**SHAPE), _model()
    assert first.state_dict().keys() == second.state_dict().keys()
    assert [id(each) for each in second.players()["restoration"]] == [
        id(each) for each in second.parameters()
    ]


def test_a_training_chooses_weights_of_the_second_stage(tmp_path):
    model = _model(pretraining=0.5)
    config = TrainingConfig(steps=8, batch_size=2, validate_every=1, log_every=1)
    volumes = [scan(seed).with_(data=scan(seed).data[..., :16, :16]) for seed in range(2)]
    summary = train(model, volumes, config, tmp_path, validation=volumes, dims=2, size=(16, 16), device="cpu")
    assert summary["best_step"] > 4
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert sum("restoration_loss" in line for line in lines) == 4
    assert sum("reconstruction_loss" in line for line in lines) == 4


def test_a_training_of_restoration_alone_is_another_model():
    with pytest.raises(ConfigError, match=r"pretraining=1: expected a number in \[0, 1\)"):
        _model(pretraining=1)
