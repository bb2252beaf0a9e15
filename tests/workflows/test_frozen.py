"""A density of feature maps on an encoder that learnt elsewhere."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.detector.weights import WEIGHTS
from aberra.errors import ConfigError, ModelError
from aberra.files import file_hash
from aberra.method import Method
from aberra.models.feature_maps import FeatureMaps
from aberra.models.resnet import ResNet
from aberra.models.vit import VisionTransformer
from aberra.workflows.start import Start
from small_scans import cohort

SMALL = {"prepare.size": 16, "training.samples": 16, "model.levels": [0], "model.density.candidates": 5000}
NARROW = {"name": "vit", "width": 16, "depth": 4, "heads": 2, "grid": 3, "resolution": 28}


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "data").mkdir()
    return cohort(tmp_path / "data", split=True)


def _fit(manifest, out, **settings):
    settings = SMALL | {key.replace("__", "."): value for key, value in settings.items()}
    method = Method.load("memory-bank", settings)
    return Detector.fit(method, Cohort.read(manifest), out=out, workers=1, calibrated=False)


def _saved(model, path, **more):
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()} | more, path)
    return str(path)


def _resnet(tmp_path):
    torch.manual_seed(7)
    model = ResNet(channels=1, size=(16, 16))
    return model, _saved(model, tmp_path / "resnet18.safetensors", **{"fc.weight": torch.zeros(1000, 512)})


def test_a_file_of_weights_is_the_encoder_and_is_not_trained(manifest, tmp_path):
    model, place = _resnet(tmp_path)
    encoder = {"name": "resnet", "resolution": 32}
    found = _fit(manifest, tmp_path / "out", model__encoder=encoder, training__start=place)
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.model.encoder.state_dict()[name].cpu(), tensor), name
    assert found.facts["start_hash"] == file_hash(tmp_path / "resnet18.safetensors")
    assert found.facts["density_bank"] > 0
    assert "training_steps" not in found.facts
    # the detector has all that it needs
    (tmp_path / "resnet18.safetensors").unlink()
    loaded = Detector.load(tmp_path / "out")
    scan = Cohort.read(manifest)[0].read(loaded.channels)
    assert loaded.identity == found.identity
    assert loaded.analyse(scan).map.max() > 0


def test_a_transformer_is_read_from_its_file(manifest, tmp_path):
    options = {key: value for key, value in NARROW.items() if key != "name"}
    model = VisionTransformer(channels=1, size=(16, 16), **options)
    place = _saved(model, tmp_path / "vit.safetensors")
    found = _fit(manifest, tmp_path / "out", model__encoder=NARROW, training__start=place)
    assert torch.equal(found.model.encoder.pos_embed.cpu(), model.pos_embed)


def test_another_detector_is_the_encoder(manifest, tmp_path):
    own = {"name": "context-restoration", "network": {"width": 4, "output": "linear"}}
    settings = {"training.steps": 2, "training.batch_size": 2, "prepare.size": 16, "model.network.width": 4}
    first = Detector.fit(
        Method.load("context-restoration", settings), Cohort.read(manifest), out=tmp_path / "first", workers=1,
        calibrated=False,
    )  # fmt: skip
    start = {"model__encoder": own, "model__frozen": True, "training__start": str(tmp_path / "first")}
    found = _fit(manifest, tmp_path / "out", **start)
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(found.model.encoder.state_dict()[name].cpu(), tensor.cpu()), name
    # and so is what was made of it
    start["training__start"] = str(tmp_path / "out")
    again = _fit(manifest, tmp_path / "again", **start)
    assert {*load_file(tmp_path / "again" / WEIGHTS)} == {*load_file(tmp_path / "out" / WEIGHTS)}
    assert again.facts["learnt"] == found.facts["learnt"]
    with pytest.raises(ModelError, match=r"encoder's \d+ tensors do not fit.*expected"):
        _fit(manifest, tmp_path / "other", **start | {"model__encoder": own | {"network": {"width": 8}}})


@pytest.mark.parametrize("settings", [{"model__encoder": "resnet"}, {"model__frozen": True}])
def test_without_weights_it_is_refused_before_anything_is_read(manifest, tmp_path, settings):
    with pytest.raises(ConfigError, match=r"training.start.*nothing is downloaded"):
        _fit(manifest, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_what_does_not_fit_is_named(tmp_path):
    model, place = _resnet(tmp_path)
    own = FeatureMaps(channels=1, size=(16, 16), encoder={"name": "resnet", "resolution": 32}, levels=[0])
    assert Start.read(place).begin(own)["start_tensors"].startswith("120 of ")
    fifty = FeatureMaps(channels=1, size=(16, 16), encoder={"name": "resnet", "depth": 50}, levels=[0])
    with pytest.raises(ModelError) as error:
        Start.read(place).begin(fifty)
    said = str(error.value)
    assert "layer1.0.conv1.weight: 64×64×3×3, expected 64×64×1×1" in said
    assert "layer1.0.conv3.weight: missing, expected 256×64×1×1" in said
    assert "more; give [model.encoder] the options" in said
    state = {name: tensor for name, tensor in model.state_dict().items() if "num_batches" not in name}
    assert Start("there", state).begin(own)["start_tensors"].startswith("100 of ")
    del state["layer4.1.bn2.bias"]
    with pytest.raises(
        ModelError, match=r"1 of the encoder's 100 tensors do not fit.*layer4\.1\.bn2\.bias: missing"
    ):
        Start("there", state).begin(own)


FEW = {
    "prepare.size": 16, "training.steps": 3, "training.batch_size": 4, "training.samples": 16, "training.patience": 0,
    "model.encoder": {"name": "vae", "latent": 4, "network": {"width": 4}},
}  # fmt: skip


def _densities(manifest, out, components, **options):
    method = Method.load("vae-gmm", FEW | {"model.density.components": components})
    return Detector.fit(method, Cohort.read(manifest), out=out, workers=1, calibrated=False, **options)


def test_another_density_on_a_trained_encoder_is_as_if_it_were_trained_again(manifest, tmp_path):
    first = _densities(manifest, tmp_path / "one", [1])
    second = _densities(manifest, tmp_path / "two", [2], trained=tmp_path / "one")
    alone = _densities(manifest, tmp_path / "alone", [2])
    assert not (tmp_path / "two" / "run" / "metrics.jsonl").exists()
    assert file_hash(tmp_path / "two" / WEIGHTS) == file_hash(tmp_path / "alone" / WEIGHTS)
    assert second.facts["training_steps"] == alone.facts["training_steps"] == 3
    assert second.facts["training_seconds"] == first.facts["training_seconds"]
    assert second.facts["training_cases"] == alone.facts["training_cases"]
    assert (first.facts["density_components"], second.facts["density_components"]) == (1, 2)


def test_an_encoder_of_another_kind_is_not_handed_on(manifest, tmp_path):
    _fit(
        manifest,
        tmp_path / "other",
        model__encoder={"name": "ae", "network": {"width": 4}},
        training__steps=1,
    )
    with pytest.raises(ModelError, match="differs in its density only"):
        _densities(manifest, tmp_path / "two", [2], trained=tmp_path / "other")
