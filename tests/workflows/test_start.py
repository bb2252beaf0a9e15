"""A training that starts from another model's weights."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.detector.weights import WEIGHTS
from aberra.errors import ConfigError, ModelError, OutputError, TrainingError
from aberra.files import file_hash
from aberra.method import Method
from aberra.models.ae import AE
from aberra.models.feature_density import FeatureDensity
from aberra.models.vae import VAE
from aberra.workflows.start import Start
from small_scans import cohort

SMALL = {
    "prepare.size": 16,
    "model.network.width": 4,
    "training.steps": 2,
    "training.batch_size": 2,
    "training.patience": 0,
}
SHAPE = {"channels": 1, "size": (32, 32), "latent": 8, "network": {"width": 4}}


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "data").mkdir()
    return cohort(tmp_path / "data", split=True)


def _fit(name, manifest, out, **settings):
    method = Method.load(name, SMALL | {key.replace("__", "."): value for key, value in settings.items()})
    return Detector.fit(method, Cohort.read(manifest), out=out, workers=1, calibrated=False)


def _begun(model, other):
    """How many tensors were taken, and how many there are."""
    taken, _, there = Start("there", other.state_dict()).begin(model)["start_tensors"].split()
    return int(taken), int(there)


def test_a_fit_starts_from_a_detector_or_a_file_of_weights_and_says_so(manifest, tmp_path):
    first = _fit("ae", manifest, tmp_path / "first")
    weights = tmp_path / "first" / WEIGHTS
    # hardly anything moves at so small a rate, but the running moments of batch norm
    still = {"training__learning_rate": 1e-12}
    other = _fit(
        "constrained-ae", manifest, tmp_path / "other", training__start=str(tmp_path / "first"), **still
    )
    for name, tensor in load_file(tmp_path / "other" / WEIGHTS).items():
        if "running" not in name and tensor.is_floating_point():
            torch.testing.assert_close(tensor, first.model.state_dict()[name].cpu(), rtol=0, atol=1e-9)
    count = len(first.model.state_dict())
    loaded = Detector.load(tmp_path / "other")
    assert loaded.facts["start_tensors"] == f"{count} of {count}"
    assert loaded.facts["start_hash"] == file_hash(weights)
    assert loaded.method.training["start"] == str(tmp_path / "first")
    assert f"**Start tensors**: {count} of {count}" in (tmp_path / "other" / "card.md").read_text()
    by_file = _fit("constrained-ae", manifest, tmp_path / "file", training__start=str(weights), **still)
    assert by_file.facts["start_hash"] == other.facts["start_hash"]
    for name, tensor in by_file.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name


def test_other_weights_in_the_same_place_are_another_fit(manifest, tmp_path):
    _fit("ae", manifest, tmp_path / "first")
    settings = {"training__start": str(tmp_path / "kept.safetensors")}
    kept = tmp_path / "kept.safetensors"
    kept.write_bytes((tmp_path / "first" / WEIGHTS).read_bytes())
    _fit("ae", manifest, tmp_path / "out", **settings)
    _fit("ae", manifest, tmp_path / "second", training__steps=3)
    kept.write_bytes((tmp_path / "second" / WEIGHTS).read_bytes())
    with pytest.raises(OutputError, match="finished detector already"):
        Detector.fit(
            Method.load("ae", SMALL | {"training.start": str(kept)}),
            Cohort.read(manifest),
            out=tmp_path / "out",
            workers=1,
            calibrated=False,
            resume=True,
        )


def test_the_encoder_is_found_whatever_is_built_around_it():
    vae, ae = VAE(**SHAPE), AE(**SHAPE)
    taken, there = _begun(ae, vae)
    encoder = len(vae.encoder.state_dict())
    assert 0 < taken < there
    assert taken >= encoder
    for name, tensor in vae.encoder.state_dict().items():
        assert torch.equal(ae.encoder[0].state_dict()[name], tensor)
    other = VAE(**SHAPE)
    assert _begun(other, ae)[0] >= encoder
    assert torch.equal(next(other.encoder.parameters()), next(ae.encoder.parameters()))
    inner = {"name": "vae", "latent": 8, "network": {"width": 4}}
    wrapped = FeatureDensity(channels=1, size=(32, 32), encoder=inner)
    assert _begun(wrapped, vae)[0] == len(vae.state_dict())
    assert _begun(other, wrapped) == (len(vae.state_dict()),) * 2
    for name, tensor in vae.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)


def test_tensors_of_another_shape_stay_as_they_were_drawn():
    wide = VAE(**SHAPE | {"latent": 16})
    model = VAE(**SHAPE)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    _begun(model, wide)
    assert torch.equal(next(model.encoder.parameters()), next(wide.encoder.parameters()))
    for head in (model.mean, model.log_variance):
        assert torch.equal(
            head[0].weight, before[f"{'mean' if head is model.mean else 'log_variance'}.0.weight"]
        )


@pytest.mark.parametrize(
    "other", [{"network": {"width": 8}}, {"network": {"name": "zimmerer2018", "width": 4}}]
)
def test_a_start_without_a_weight_that_fits_is_refused(other):
    with pytest.raises(ModelError, match=r"training\.start=there: none of its \d+ tensors .*same encoder"):
        _begun(VAE(**SHAPE), VAE(**SHAPE | {"channels": 2, "latent": 5} | other))


@pytest.mark.parametrize("name", ["nowhere", "nowhere.safetensors", "broken.safetensors"])
def test_a_start_that_is_not_there_is_refused_before_a_case_is_prepared(name, manifest, tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"mine")
    with pytest.raises(ModelError, match=r"no detector here|cannot be read as weights"):
        _fit("ae", manifest, tmp_path / "out", training__start=str(tmp_path / name))
    assert not (tmp_path / "out").exists()


def test_models_without_a_training_have_nothing_to_start(manifest, tmp_path):
    with pytest.raises(ConfigError, match=r"training\.start=there: model 'zmap' is not trained"):
        Detector.fit(
            Method.load("zmap", {"training.start": "there"}), Cohort.read(manifest), out=tmp_path / "out"
        )


def test_a_start_that_has_learnt_from_the_held_out_cases_is_refused(manifest, tmp_path):
    text = manifest.read_text()
    turned = text.replace("train", "?").replace("val", "train").replace("?", "val")
    other = manifest.with_name("turned.csv")
    other.write_text(turned)
    _fit("ae", other, tmp_path / "first")
    with pytest.raises(TrainingError, match=r"it has learnt from 2 of the held-out case\(s\): c0, c2"):
        _fit("ae", manifest, tmp_path / "out", training__start=str(tmp_path / "first"))


def test_what_the_start_has_learnt_from_is_known_afterwards(manifest, tmp_path):
    first = _fit("ae", manifest, tmp_path / "first")
    rows = manifest.read_text().splitlines()
    less = manifest.with_name("less.csv")
    less.write_text("\n".join([rows[0], *rows[1:3], rows[3]]) + "\n")
    second = _fit("ae", less, tmp_path / "second", training__start=str(tmp_path / "first"))
    assert len(first.facts["learnt"]) == 2
    assert sorted(second.facts["learnt"]) == sorted(first.facts["learnt"])


def test_context_restoration_starts_those_that_build_on_it(manifest, tmp_path):
    first = _fit("context-restoration", manifest, tmp_path / "first", model__network__width=2)
    count = len(first.model.state_dict())
    start = {"training__start": str(tmp_path / "first"), "model__network__width": 2}
    for name, more in (("vae-pretrained", 0), ("multitask", 2)):
        other = _fit(name, manifest, tmp_path / name, model__pretraining=0, **start)
        assert other.facts["start_tensors"] == f"{count} of {count + more}"
    other = _fit("ae-strided", manifest, tmp_path / "ae", **start)
    # the decoder's first layer reads another code
    assert other.facts["start_tensors"] == f"{count - 1} of {count}"
