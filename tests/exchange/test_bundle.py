"""MONAI bundles, run by MONAI."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from aberra.exchange import export
from aberra.exchange.graph import graph_of
from aberra.volume import Volume
from untrained import untrained

pytestmark = pytest.mark.filterwarnings("ignore")  # of MONAI's own imports

SLICES, PATCHES = "ae", "synthetic-lesions"
SETTINGS = {SLICES: {"model.network.width": 4}, PATCHES: {"model.widths": [4, 8, 8]}}


@pytest.fixture(scope="module", params=[SLICES, PATCHES])
def bundle(request, tmp_path_factory):
    """A detector, its bundle, and a prepared scan in the folder that the bundle reads."""
    detector = untrained(request.param, SETTINGS[request.param])
    folder = export(detector, "monai", out=tmp_path_factory.mktemp("bundle") / "anomalies").folder
    data = np.zeros((1, 14, 16, 15), np.float32)
    data[:, 3:12, 2:14, 5:13] = 1 + np.random.default_rng(0).random((1, 9, 12, 8))
    prepared = Volume(data=data, affine=np.diag([1.5, 1.5, 1.5, 1]), mask=data[0] != 0)
    (folder / "prepared").mkdir()
    prepared.write(folder / "prepared" / "scan.nii.gz")
    return detector, folder, prepared


def _parsed(folder):
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(folder / "configs" / "inference.json")
    parser.read_meta(folder / "configs" / "metadata.json")
    parser.update({"bundle_root": str(folder), "device": "$torch.device('cpu')"})
    return parser


@torch.no_grad()
def test_monai_gives_the_detectors_map_of_a_prepared_scan(bundle):
    detector, folder, prepared = bundle
    parser = _parsed(folder)
    (batch,) = parser.get_parsed_content("dataloader")
    network, inferer = (parser.get_parsed_content(part) for part in ("network", "inferer"))
    assert not network.training
    found = inferer(batch["image"], network)
    undo = [each for each in parser["postprocessing"]["transforms"] if each["_target_"] == "Invertd"]
    if undo:
        from monai.data import decollate_batch
        from monai.transforms import Invertd

        (item,) = decollate_batch({"image": batch["image"], "pred": found})
        invert = Invertd("pred", transform=parser.get_parsed_content("preprocessing"), orig_keys="image", nearest_interp=False)  # fmt: skip
        found = invert(item)["pred"][None]
    mask = torch.from_numpy(prepared.judged)
    x = torch.from_numpy(prepared.data)
    wanted = detector.question.score.score(detector.model, x, mask, detector.runner).inside(mask).map
    assert found.shape == (1, 1, *prepared.shape)
    assert wanted.max() > 0.01
    np.testing.assert_allclose(np.asarray(found)[0, 0] * mask.numpy(), wanted.numpy(), atol=1e-5)


@torch.no_grad()
def test_monais_own_loader_gives_the_network(bundle, monkeypatch):
    from monai.bundle import load

    detector, folder, _ = bundle
    monkeypatch.chdir(folder)  # where a bundle is run: its root is "."
    network = load(folder.name, bundle_dir=folder.parent, workflow_type="inference", device="cpu", source="github")  # fmt: skip
    x = torch.randn(2, 1, *detector.size)
    torch.testing.assert_close(network(x), graph_of(detector)(x))


def test_the_weights_are_tensors_only(bundle):
    detector, folder, _ = bundle
    saved = torch.load(folder / "models" / "model.pt", weights_only=True)
    wanted = graph_of(detector).state_dict()
    assert saved.keys() == wanted.keys()
    assert all(torch.equal(saved[name], tensor) for name, tensor in wanted.items())


def test_the_metadata_has_what_the_specification_asks_for(bundle):
    detector, folder, _ = bundle
    said = json.loads((folder / "configs" / "metadata.json").read_text())
    asked = {
        "version", "changelog", "monai_version", "pytorch_version", "numpy_version", "required_packages_version",
        "task", "description", "authors", "copyright", "network_data_format", "schema",
    }  # fmt: skip
    assert asked <= said.keys()
    given, gives = (said["network_data_format"][side] for side in ("inputs", "outputs"))
    tensor = {"type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data", "channel_def"}  # fmt: skip
    assert tensor | {"modality"} <= given["image"].keys()
    assert tensor <= gives["pred"].keys()
    assert given["image"]["channel_def"] == {"0": "flair"}
    assert given["image"]["modality"] == "MR"
    several = detector.dims == 3
    assert given["image"]["spatial_shape"] == (["4*d", "4*h", "4*w"] if several else [16, 16])
    assert gives["pred"]["value_range"] == ([0, 1] if several else [])
    assert said["aberra"]["not_inside"]["prepare"] == [{"name": "orient", "to": "SPL"}]
    assert {path.name for path in folder.iterdir()} >= {"LICENSE", "configs", "docs", "models"}
    assert "Detector.load" in (folder / "docs" / "README.md").read_text()
    assert "not stated" in (folder / "LICENSE").read_text()
    assert json.loads((folder / "configs" / "check.json").read_text())["check"]["greatest_difference"] == 0
