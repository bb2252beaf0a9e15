from __future__ import annotations

import numpy as np
import pytest

from aberra.cohort import Cohort
from aberra.cohort.fingerprint import of_volume
from aberra.detector import Detector
from aberra.errors import ConfigError
from aberra.method import Method
from aberra.prepare import register
from aberra.prepare.plan import plan
from aberra.prepare.register import Register
from aberra.prepare.register_rigid import RegisterRigid
from aberra.synthesis import draw_phantom, render
from aberra.synthesis.fields import rotation
from aberra.volume import Volume


@pytest.fixture(scope="module")
def brain():
    return render(draw_phantom(3, 0, "flair"), 4.0)


def test_a_registration_that_worked_says_so_and_is_remembered(brain, monkeypatch):
    moved = Register(spacing=4.0)(brain)
    fact = moved.provenance["registration"]
    assert fact["target"] == "mni152"
    assert fact["ok"]
    assert fact["overlap"] > 0.9
    assert moved.provenance["warnings"] == []
    monkeypatch.setattr(register, "_search", lambda *_: pytest.fail("searched again"))
    np.testing.assert_array_equal(Register(spacing=4.0)(brain).data, moved.data)


@pytest.mark.parametrize(
    ("shift", "failed", "why"),
    [(70.0, "", "the brain masks overlap by 0."), (0.0, "no valid points", "no valid points")],
)
def test_one_that_did_not_is_a_warning_and_no_refusal(brain, monkeypatch, shift, failed, why):
    away = np.eye(4)
    away[0, 3] = shift
    monkeypatch.setattr(register, "_found", {})
    monkeypatch.setattr(register, "_search", lambda *_: (away, failed))
    moved = Register(spacing=4.0)(brain)
    assert not moved.provenance["registration"]["ok"]
    (warning,) = moved.provenance["warnings"]
    assert warning.startswith("registration to MNI152 failed")
    assert why in warning
    assert moved.data.shape[1:] == moved.mask.shape


def test_a_rigid_registration_finds_a_turn_and_keeps_the_size():
    straight = render(draw_phantom(3, 0, "flair"), 4.0)
    turn = np.eye(4)
    turn[:3, :3] = rotation((0.1, -0.15, 0.2))
    turn[:3, 3] = (12, -8, 20)
    turned = straight.with_(affine=turn @ straight.affine)
    plain, found = (RegisterRigid(spacing=4.0)(each) for each in (straight, turned))
    assert found.provenance["registration"]["ok"]
    linear = found.affine[:3, :3] / 4
    np.testing.assert_allclose(linear @ linear.T, np.eye(3), atol=1e-6)
    # both lie alike, so the way from one scan to the other is the turn
    way = found.affine @ np.linalg.inv(plain.affine)
    np.testing.assert_allclose(way[:3, :3], turn[:3, :3], atol=0.04)
    assert 2 * (plain.mask & found.mask).sum() / (plain.mask.sum() + found.mask.sum()) > 0.95


def test_a_failed_registration_reaches_the_result(brain, monkeypatch, tmp_path):
    paths = [tmp_path / f"{case}.nii.gz" for case in range(2)]
    for case, path in enumerate(paths):
        render(draw_phantom(3, case, "flair"), 4.0).write(path)
    settings = {"model.spacing": 6.0, "prepare.spacing": [6.0] * 3}
    detector = Detector.fit(
        Method.load("tissue", settings),
        Cohort.from_paths(paths),
        out=tmp_path / "m",
        workers=1,
        calibrated=False,
    )
    detector = detector.calibrate(Cohort.from_paths(paths))
    assert detector.detect(brain).input["registration"]["ok"]
    away = np.eye(4)
    away[2, 3] = 90
    monkeypatch.setattr(register, "_found", {})
    monkeypatch.setattr(register, "_search", lambda *_: (away, ""))
    found = detector.detect(brain)
    assert not found.input["registration"]["ok"]
    assert any("registration to MNI152 failed" in note for note in found.warnings)


def test_images_cannot_be_planned_onto_the_atlas():
    image = Volume(
        data=np.random.default_rng(0).random((1, 1, 40, 40)), affine=np.eye(4), provenance={"kind": "image"}
    )
    with pytest.raises(ConfigError, match="whole brains"):
        plan(of_volume(image), grid="common", register="mni152")
    assert plan(of_volume(image), grid="common", register="auto")
