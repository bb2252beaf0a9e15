"""Detectors as files of other programs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from aberra import extras
from aberra.cli import app
from aberra.errors import ConfigError, ModelError, OutputError
from aberra.exchange import export, programs
from aberra.exchange.graph import graph_of
from aberra.output import kind_of
from small_scans import cohort, detector
from untrained import untrained


@pytest.fixture(scope="module")
def autoencoder():
    return untrained("ae", {"score.smooth": 1.0, "model.network.width": 4}, channels=("flair", "t1"))


@pytest.fixture(scope="module")
def segmenter():
    """Of patches that may have any edges that are multiples of four."""
    return untrained("synthetic-lesions", {"model.widths": [4, 8, 8]})


@pytest.fixture(scope="module")
def onnx(autoencoder, tmp_path_factory):
    return export(autoencoder, "onnx", out=tmp_path_factory.mktemp("onnx") / "out").folder


def test_onnx_runtime_gives_the_map_of_any_number_of_slices(onnx, autoencoder):
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx / "model.onnx", providers=["CPUExecutionProvider"])
    (given,), (gives,) = session.get_inputs(), session.get_outputs()
    assert (given.name, gives.name, given.type) == ("image", "map", "tensor(float)")
    assert given.shape[1:] == [2, 16, 16]
    x = torch.randn(5, 2, 16, 16)
    with torch.no_grad():
        wanted = graph_of(autoencoder)(x).numpy()
    (found,) = session.run(None, {"image": x.numpy()})
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert found.shape == (5, 1, 16, 16)


def test_the_description_has_what_a_program_must_know(onnx):
    said = json.loads((onnx / "model.json").read_text())
    assert said["input"] == {
        "name": "image", "dtype": "float32", "axes": ["batch", "channel", "h", "w"], "channels": ["flair", "t1"],
        "orientation": "SPL", "spacing_mm": None, "size": [16, 16], "any_multiple_of": None,
    }  # fmt: skip
    assert (said["gives"], said["output"]["channels"]) == ("map", ["anomaly"])
    inside = said["not_inside"]
    assert inside["prepare"] == [{"name": "orient", "to": "SPL"}]
    assert (inside["smooth"], inside["score"]) == (1.0, None)
    assert inside["postprocess"]["erode_mm"] == 2.0
    assert said["thresholds"] is None  # not calibrated
    assert said["licence"].startswith("not stated")
    check = said["check"]
    assert [shape[0] for shape in check["shapes"]] == [1, 3]
    assert 0 <= check["greatest_difference"] <= check["tolerance"] * check["greatest_answer"]
    assert kind_of(onnx) == "export"
    assert {path.name for path in onnx.iterdir() if path.name[0] != "."} == {"model.onnx", "model.json", "card.md"}  # fmt: skip


def test_a_torch_program_takes_any_batch_and_other_patches(segmenter, tmp_path):
    done = export(segmenter, "torch", out=tmp_path / "out")
    assert done.difference == 0
    program = torch.export.load(done.folder / "model.pt2").module()
    graph = graph_of(segmenter)
    for shape in ((2, 1, 16, 16, 16), (1, 1, 8, 12, 20)):
        x = torch.randn(*shape)
        with torch.no_grad():
            torch.testing.assert_close(program(x), graph(x))
    said = json.loads((done.folder / "model.json").read_text())
    assert said["input"]["any_multiple_of"] == 4
    assert "probability" in said["output"]["means"]
    assert "multiples of 4" in said["windows"]


def test_a_file_that_answers_otherwise_is_not_kept(autoencoder, tmp_path, monkeypatch):
    module = __import__("aberra.exchange.export", fromlist=["read_torch"])
    read = programs.read_torch

    def wrong(path):
        real = read(path)
        return lambda x: real(x) + 0.1

    monkeypatch.setattr(module, "read_torch", wrong)
    with pytest.raises(ModelError, match=r"differs from the network by 0\.1"):
        export(autoencoder, "torch", out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(module, "read_torch", lambda _: lambda x: x)
    with pytest.raises(ModelError, match=r"answers \(1, 2, 16, 16\), the network itself \(1, 1, 16, 16\)"):
        export(autoencoder, "torch", out=tmp_path / "out")


def test_what_is_in_the_folder_stays(autoencoder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        export(autoencoder, "onnx", out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(ConfigError, match="format"):
        export(autoencoder, "pickle", out=tmp_path / "out")


def test_without_the_package_the_extra_is_named(autoencoder, tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(extras, "import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install 'aberra\[export\]'"):
        export(autoencoder, "onnx", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_traced_is_refused(autoencoder):
    class Odd(torch.nn.Module):
        def forward(self, x):
            return x if float(x.sum()) > 0 else -x  # depends on values

    with pytest.raises(ConfigError, match="cannot be traced"):
        programs.traced(Odd(), (3, 1, 16, 16), 0)


def test_the_command_says_what_the_file_gives_and_how_near_it_is(tmp_path):
    saved = untrained("vae-restoration", {"model.network.width": 4}).save(tmp_path / "model").folder
    done = CliRunner().invoke(app, ["export", str(saved), "--to", "torch", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "this is the network alone, its reconstruction" in done.output
    assert "reconstruction: at most 0 from the network" in done.output
    assert "in batches of 1 and 3" in done.output
    said = json.loads((tmp_path / "out" / "model.json").read_text())
    assert said["not_inside"]["score"]["name"] == "residual"
    assert said["why_not_the_map"]


def test_a_detector_without_a_network_is_an_error_of_one_line(tmp_path):
    folder = tmp_path / "model"
    detector("intensity", cohort(tmp_path, split=True), folder)
    done = CliRunner().invoke(app, ["export", str(folder), "--to", "onnx", "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "has no network" in str(done.exception)
    assert not (tmp_path / "out").exists()
