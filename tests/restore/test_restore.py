from __future__ import annotations

import torch

from aberra.registry import lookup, names
from aberra.restore import Restored, mean_image


def test_channels_of_a_packed_version_are_image_reference_and_evidence():
    x, image, reference = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4), torch.full((2, 3, 4, 4), 2.0)
    evidence = torch.full((2, 1, 4, 4), 5.0)
    assert Restored(image, reference, evidence).packed(x)[0, :, 0, 0].tolist() == [1, 1, 1, 2, 2, 2, 5]
    assert Restored(image).packed(x)[0, :, 0, 0].tolist() == [1, 1, 1, 0, 0, 0, 1]


def test_the_mean_of_versions_is_in_float32():
    images = [torch.full((1, 1), value, dtype=torch.bfloat16) for value in (1.0, 2.0, 4.0)]
    found = mean_image(iter(images))
    assert found.dtype == torch.float32
    assert float(found) == 7 / 3 or abs(float(found) - 7 / 3) < 1e-6


def test_every_restoration_says_what_it_needs():
    for name in names("restore"):
        restore = lookup("restore", name)()
        assert restore.needs
        assert all(isinstance(need, type) for need in restore.needs)
        assert {type(flag) for flag in (restore.grad, restore.several, restore.has_evidence)} == {bool}
