"""A folder of results with tables of scores and objects, without a detector."""

from __future__ import annotations

import csv

import numpy as np

from aberra.output import claim
from aberra.result import Result
from aberra.volume import Volume

SPACING = (2.0, 3.0, 4.0)
SHAPE = (20, 24, 16)
BOXES = ((slice(3, 8), slice(4, 10), slice(3, 7)), (slice(12, 17), slice(12, 19), slice(9, 13)))
"""Of two objects, in the order of their peaks: 0.9 and 0.7 where the map is 0."""

THRESHOLD = 0.5


def small_results(folder, scores, *, healthy=True, without=()):
    """Results of a case for each name and (score, p), with two objects each, but for ``without``."""
    claim(folder, "results", identity="small")
    rows, lines = [], []
    for number, (name, (score, p)) in enumerate(scores.items()):
        rng = np.random.default_rng(number)
        data = (rng.random((1, *SHAPE)) + 1).astype(np.float32)
        scan = Volume(data=data, affine=np.diag([*SPACING, 1.0]), provenance={"kind": "volume"})
        path = folder.parent / f"scan-{number}.nii.gz"
        scan.write(path)
        values = np.zeros(SHAPE, np.float32)
        for box, peak in zip(BOXES, (0.9, 0.7), strict=True):
            values[box] = peak
        map_ = scan.with_(data=values[None], channels=("anomaly",))
        Result(
            case=name, paths={"flair": str(path)}, map=map_, mask=values > THRESHOLD,
            reconstruction=scan if healthy else None, score=score, p=p, components=[],
            threshold={"protocol": "fixed-0.5", "value": THRESHOLD}, scale={"low": 0.0, "high": 1.0},
        ).save(folder / name)  # fmt: skip
        lines.append(
            {"case": name, "path": path, "score": score, "p": "" if p is None else p, "warnings": "beware"}
        )
        if name in without:
            (folder / "objects").mkdir(exist_ok=True)
            (folder / "objects" / f"{name}.json").write_text("{}")
            continue
        for index, (box, peak) in enumerate(zip(BOXES, (0.9, 0.7), strict=True), start=1):
            centre = [
                step * (part.start + part.stop - 1) / 2 for step, part in zip(SPACING, box, strict=True)
            ]
            rows.append(
                {"case": name, "object": index, "volume_mm3": float(24 * values[box].size), "region": "left & <b>deep</b>", "peak": peak,
                 "mean": peak, "p": "" if p is None else p, "threshold": THRESHOLD, "protocol": "fixed-0.5"}
                | dict(zip(("centre_x", "centre_y", "centre_z"), centre, strict=True))
            )  # fmt: skip
    for table, content in (("scores.csv", lines), ("objects.csv", rows)):
        with (folder / table).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(content[0]))
            writer.writeheader()
            writer.writerows(content)
    return folder
