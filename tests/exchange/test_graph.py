"""What of a detector is a function of a slice or patch."""

from __future__ import annotations

import pytest
import torch

from aberra.detector import Detector
from aberra.errors import PairingError
from aberra.exchange.graph import channels_of, graph_of, multiple_of, shapes_of
from untrained import untrained

ONCE = {
    "ae": {},
    "vae": {"score.compare": {"mode": "positive"}},
    "dae": {"score.compare": {"mode": "structural"}},
    "scale-space-ae": {},
    "unet": {},
    "steganomaly": {},
    "unet-3d": {},
    "synthetic-lesions": {"model.widths": [4, 8, 8]},
}
"""Methods that ask their model once, with settings."""


def _scan(detector, depth=20):
    """A scan whose slices are windows, with a mask that is not all of it."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(len(channels_of(detector)), depth, 16, 16, generator=generator)
    mask = torch.zeros(x.shape[1:], dtype=torch.bool)
    mask[2:-3, 3:15, 2:12] = True
    return x * mask, mask


@pytest.mark.parametrize("name", ONCE)
@torch.no_grad()
def test_the_graph_run_over_a_scan_gives_the_scores_own_map(name):
    detector = untrained(name, ONCE[name])
    graph = graph_of(detector)
    assert (graph.gives, graph.why) == ("map", "")
    x, mask = _scan(detector)
    wanted = detector.question.score.score(detector.model, x, mask, detector.runner).inside(mask).map
    found = detector.runner(graph, x, mask)
    assert found.shape == (1, *x.shape[1:])
    assert wanted.max() > 1e-3
    torch.testing.assert_close(found[0] * mask, wanted, atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize("name", ONCE)
@torch.no_grad()
def test_a_batch_is_its_parts(name):
    detector = untrained(name, ONCE[name])
    graph = graph_of(detector)
    x = torch.randn(shapes_of(detector)[1], generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(graph(x), torch.cat([graph(each[None]) for each in x]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vae-restoration", {}),  # gradients
        ("bayesian-ae", {}),  # many passes
        ("ae", {"score.compare": {"centre": True}}),  # the whole scan
    ],
)
@torch.no_grad()
def test_a_score_that_asks_for_more_leaves_the_reconstruction_and_says_why(name, settings):
    detector = untrained(name, settings)
    graph = graph_of(detector)
    assert graph.gives == "reconstruction"
    assert "gradients, many passes or the whole scan" in graph.why
    x = torch.randn(3, 1, 16, 16)
    assert torch.equal(graph(x), detector.model.reconstruct(x))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("intensity", "'intensity' has no network"),
        ("anoddpm", "'ddpm' takes noise out in many steps"),
        ("ddpm-segmentation", "takes noise out in many steps"),
    ],
)
def test_who_has_no_such_function_is_refused(name, why):
    with pytest.raises(PairingError, match=why):
        graph_of(untrained(name))


def test_a_tissue_model_is_refused_though_it_is_shipped():
    with pytest.raises(
        PairingError, match="any-contrast: cannot be exported: the model 'tissue' has no network"
    ):
        graph_of(Detector.load("any-contrast", device="cpu"))


def test_the_channels_that_the_preparation_appends_are_part_of_the_input():
    detector = Detector.load("t1", device="cpu")
    assert channels_of(detector) == ("t1", "csf", "gm", "wm")
    assert multiple_of(detector) == 16
    assert shapes_of(detector) == [(1, 4, 80, 96, 80), (3, 4, 32, 48, 32)]
    with torch.no_grad():
        assert graph_of(detector)(torch.zeros(1, 4, 32, 32, 32)).shape == (1, 1, 32, 32, 32)
