from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def background():
    spec = importlib.util.spec_from_file_location("background", ROOT / "examples" / "background.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_picture_of_the_page_is_drawn(background, tmp_path, capsys):
    background.main(tmp_path, quick=True)
    page = (ROOT / "docs" / "explanation" / "background.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"pictures/(background-\w+\.png)", page))
    assert {path.name for path in tmp_path.iterdir()} == shown
    assert all(imread(path).std() > 0.01 for path in tmp_path.iterdir())
    assert shown == {path.name for path in (ROOT / "docs" / "pictures").glob("background-*.png")}
    assert "negative ELBO: AUROC" in capsys.readouterr().out


def test_the_others_are_eights_without_some_strokes(background):
    eights, fives, sixes, nines = background.drawn(50, seed=3)
    assert eights.shape == fives.shape == (50, 1, 28, 28)
    assert (eights.min(), eights.max()) == (-1, 1)
    for others, least in ((fives, 0.1), (sixes, 0.03), (nines, 0.03)):
        missing = (eights - others).flatten(1)
        assert (missing >= 0).all()
        share = (missing > 1).sum(dim=1) / (eights > 0).flatten(1).sum(dim=1)
        assert ((share > least) & (share < 0.5)).all()
    assert torch.equal(torch.minimum(sixes, nines), fives)
    assert torch.equal(background.drawn(50, seed=3)[0], eights)


def test_activation_is_the_share_of_every_place_in_the_classes_logit(background):
    torch.manual_seed(0)
    classifier, x = background.Classifier(), torch.rand(2, 1, 28, 28)
    maps = torch.einsum("bkhw,k->bhw", classifier.seen(x), classifier.head.weight[1])
    torch.testing.assert_close(maps.mean(dim=(1, 2)) + classifier.head.bias[1], classifier(x)[:, 1])
    seen = classifier.activation(x, 1)
    assert seen.shape == x.shape
    torch.testing.assert_close(
        seen.amax(dim=(1, 2, 3)), maps.clamp(min=0).amax(dim=(1, 2)), rtol=0.3, atol=1e-3
    )


def test_saliency_is_the_slope_of_the_logit(background):
    torch.manual_seed(0)
    classifier, x = background.Classifier().double(), torch.rand(1, 1, 28, 28, dtype=torch.float64)
    classifier.requires_grad_(requires_grad=False)
    slope = classifier.saliency(x, 0)
    for row, column in ((3, 4), (14, 14), (20, 9)):
        moved = x.clone()
        moved[0, 0, row, column] += 1e-6
        change = (classifier(moved) - classifier(x))[0, 0] / 1e-6
        assert float(change.abs()) == pytest.approx(float(slope[0, 0, row, column]), abs=1e-5)
