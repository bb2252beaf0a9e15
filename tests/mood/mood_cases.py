"""Small test cases and predictions in the challenge's layout, and the tables of the thesis."""

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


TEAMS = ("FPI", "Marimont", "Canon", "NUDT", "Tuluptceva", "A1", "Saase", "A2")


def _table(brain, abdomen):
    return {"brain": dict(zip(TEAMS, brain, strict=True)), "abdomen": dict(zip(TEAMS, abdomen, strict=True))}


# Zimmerer 2022, tables 4.1 and 4.2
SAMPLE = _table(
    (0.962, 0.873, 0.845, 0.792, 0.840, 0.831, 0.800, 0.634), (0.874, 0.874, 0.871, 0.876, 0.861, 0.780, 0.770, 0.816)
)  # fmt: skip
PIXEL = _table(
    (0.449, 0.273, 0.416, 0.201, 0.211, 0.160, 0.204, 0.002), (0.394, 0.217, 0.288, 0.239, 0.221, 0.072, 0.014, 0.014)
)  # fmt: skip
