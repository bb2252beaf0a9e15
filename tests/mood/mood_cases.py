"""Small test cases and predictions in the challenge's layout."""

from __future__ import annotations

import numpy as np

from aberra.volume import Volume

SHAPE = (4, 8, 8)


def volume(data, channel="image"):
    return Volume(
        data=np.asarray(data, np.float32)[None], affine=np.diag([2.0, 2, 2, 1]), channels=(channel,)
    )


def case(number):
    """Whether a case is anomalous, its truth and a map that tells it imperfectly."""
    rng = np.random.default_rng(number)
    truth = np.zeros(SHAPE, np.float32)
    if number % 2:
        truth[1:3, 2:5, 2:5] = 1
    return bool(number % 2), truth, np.clip(0.4 * truth + 0.7 * rng.random(SHAPE), 0, 1).astype(np.float32)


def challenge(folder, cases=8):
    """Write ``toy_label`` and ``predictions`` (both tasks); returns these folders."""
    labels, predictions = folder / "toy_label", folder / "predictions"
    for each in (labels / "sample", labels / "pixel", predictions / "sample", predictions / "pixel"):
        each.mkdir(parents=True)
    for number in range(cases):
        anomalous, truth, found = case(number)
        name = f"c{number}.nii.gz"
        volume(truth, "mask").write(labels / "pixel" / name)
        (labels / "sample" / f"{name}.txt").write_text(f"{int(anomalous)}\n")
        volume(found).write(predictions / "pixel" / name)
        (predictions / "sample" / f"{name}.txt").write_text(f"{float(found.mean())!r}\n")
    return labels, predictions
