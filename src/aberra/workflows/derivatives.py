"""Results as a BIDS derivative: a tree that other tools find and a validator passes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aberra import __version__
from aberra.cohort.bids import DESCRIPTION, BidsName
from aberra.files import link, read_json, write_json, write_text
from aberra.output import claim
from aberra.workflows.scores import finished_cases

VERSION = "1.10.0"
"""Of BIDS."""

RESULTS = "aberra"
"""Folder of the results in a derivative that is made for itself (:mod:`aberra.cli.bids`)."""

IMAGES = {
    "map": ("anomaly", "", "Anomaly map: higher is less like healthy scans."),
    "mask": ("anomaly", "mask", "The anomaly map at its threshold."),
    "reconstruction": ("healthy", "", "The healthy version of the scan."),
    "uncertainty": ("uncertainty", "", "How unsure the anomaly map is."),
    "kinds": ("anomaly", "dseg", "The likeliest kind of lesion."),
}
"""File of a result, description, suffix (else the scan's), and what a reader is told."""

README = """What aberra found unlike healthy scans, beside each scan of the raw dataset: desc-anomaly is the
anomaly map and its mask, desc-healthy the healthy version, each with a sidecar. Research use only.
"""

COLUMNS = {
    "case": ("The participant's most anomalous case", ""),
    "score": ("Its score, higher is less like healthy scans", ""),
    "p": ("Its conformal p-value among healthy scans", ""),
    "regions": ("Number of regions above the threshold", ""),
    "largest": ("Volume of the largest region", "mm^3"),
}
"""Columns of ``participants.tsv``: what they are, and their unit."""


def write_derivatives(results: Path, dataset: Path, out: Path) -> int:
    """Write finished results as a BIDS derivative of the dataset that they are of.

    ``sub-01_FLAIR.nii.gz`` gets, beside each other, ``sub-01_desc-anomaly_FLAIR.nii.gz``, the mask
    ``sub-01_desc-anomaly_mask.nii.gz``, and where there are such ``desc-healthy``,
    ``desc-uncertainty`` and ``dseg``, each with a sidecar. Files are hard links to the results
    where the disk has them. ``participants.tsv`` has the most anomalous scan of each participant.

    Args:
        results: folder that ``detect`` wrote.
        dataset: the raw dataset.
        out: folder of the derivative; may hold ``results``, which it then tells validators to
            leave alone.

    Returns:
        How many participants are in it.

    Raises:
        OutputError: ``out`` holds something else, or cannot be written.
    """
    claim(out, "derivatives", about={"dataset": str(dataset)})
    raw = os.path.relpath(dataset, out)
    write_json(
        out / DESCRIPTION,
        {
            "Name": f"Anomalies of {dataset.resolve().name} found by aberra",
            "BIDSVersion": VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "aberra", "Version": __version__}],
            "SourceDatasets": [{"URL": quote(raw)}],
            "DatasetLinks": {"raw": quote(raw)},
        },
    )
    inner = results.is_relative_to(out)
    write_text(out / ".bidsignore", f"{results.relative_to(out).as_posix()}\n" if inner else "")
    write_text(out / "README", README)
    people: dict[str, dict[str, Any]] = {}
    for case in finished_cases(results):
        folder = results / case
        said = read_json(folder / "result.json")
        source = Path(next(iter(said["paths"].values())))  # of several channels the first gives the name
        name = BidsName.of(source)
        if name is None or not source.is_relative_to(dataset):
            continue
        _write_scan(folder, said, name, source.relative_to(dataset), out)
        row = _row(name, said)
        known = people.setdefault(row["participant_id"], row)
        if row["score"] > known["score"]:
            people[row["participant_id"]] = row
    rows = [people[key] for key in sorted(people)]
    cells = [["n/a" if value is None else str(value) for value in row.values()] for row in rows]
    lines = ["\t".join(line) + "\n" for line in [["participant_id", *COLUMNS], *cells]]
    write_text(out / "participants.tsv", "".join(lines))
    write_json(
        out / "participants.json",
        {
            key: {"Description": what} | ({"Units": unit} if unit else {})
            for key, (what, unit) in COLUMNS.items()
        },
    )
    return len(rows)


def _write_scan(folder: Path, said: dict[str, Any], name: BidsName, source: Path, out: Path) -> None:
    """Write what there is of one scan, each image before its sidecar."""
    home = out / source.parent
    claim(home, "derivatives")
    key = said["input"].get("key", "")
    for image, (description, suffix, meaning) in IMAGES.items():
        file = folder / f"{image}.nii.gz"
        stem = name.derived(suffix or name.suffix, desc=description)
        sidecar = home / f"{stem}.json"
        if not file.is_file():
            continue
        if sidecar.is_file() and read_json(sidecar).get("AberraResult") == key:
            continue
        link(file, home / f"{stem}.nii.gz")
        write_json(
            sidecar,
            {
                "Description": meaning,
                "Sources": [f"bids:raw:{source.as_posix()}"],
                "SpatialReference": f"bids:raw:{source.as_posix()}",
                "SkullStripped": False,
                "AberraResult": key,
                "AberraModel": said["model"],
                "AberraScore": said["score"],
                "AberraP": said["p"],
                **({"Type": "Lesion", "AberraThreshold": said["threshold"]} if suffix == "mask" else {}),
            },
        )


def _row(name: BidsName, said: dict[str, Any]) -> dict[str, Any]:
    regions = said["components"]
    return {
        "participant_id": f"sub-{name.entities['sub']}",
        "case": said["case"],
        "score": said["score"],
        "p": said["p"],
        "regions": len(regions),
        "largest": regions[0]["volume_mm3"] if regions else 0.0,
    }
