"""Score a submission as the challenge does, and beside it what the challenge's numbers leave out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from aberra.cohort.inputs import keep_out
from aberra.errors import InputError
from aberra.failures import told
from aberra.files import config_hash, csv_text, write_json, write_text
from aberra.metrics.bootstrap import PatientBootstrap, with_intervals
from aberra.metrics.case import auroc, average_precision, fpr_at_tpr
from aberra.metrics.voxel import VoxelHistogram
from aberra.mood.counts import Batches, count, curve
from aberra.mood.groups import COLUMNS as GROUP_COLUMNS
from aberra.mood.groups import PixelGroups, groups_of, sample_rows
from aberra.mood.predictions import Predictions
from aberra.mood.truth import Task, Truth, read_truths
from aberra.options import Between, Count, Within, configured
from aberra.output import claim
from aberra.versions import versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aberra.mood.groups import Group

BATCH = 20
"""Scans whose voxels the challenge pools for one average precision."""

TPR = 0.95
"""Share of the anomalous scans that must not be missed where reading is saved."""

CASES = ("case", "patient", "label", "score", "ap", "zeros")
BATCHES = ("pass", "batch", "ap")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a submission reached.

    Attributes:
        team: whose it is.
        dataset: of the labels.
        task: ``sample`` or ``pixel``.
        value: the challenge's number, by which submissions are ranked.
        published: as the challenge computes it: ``ap``; of pixels also ``second`` (the second pass),
            ``batches`` and ``left_out`` (batches without an anomaly).
        exact: of the float32 values: ``ap``, ``auroc`` (of pixels over all voxels), of samples also
            ``fpr95``, each with ``_interval``; and ``prevalence``.
        reading: what :func:`share_read` makes of ``fpr95``; empty of pixels.
        cases: one row a case.
        groups: one row a group, see :mod:`aberra.mood.groups`.
        batches: one row a pass and batch; empty of samples.
        zeros: case to reason where a prediction counts as zeros.
        notes: what a reader must know.
    """

    team: str
    dataset: str
    task: Task
    value: float
    published: dict[str, Any]
    exact: dict[str, Any]
    reading: dict[str, float] = field(default_factory=dict)
    cases: list[dict[str, Any]]
    groups: list[dict[str, Any]]
    batches: list[dict[str, Any]] = field(default_factory=list)
    zeros: dict[str, str]
    notes: list[str]


def share_read(fpr: float, prevalence: float = 0.5, tpr: float = TPR) -> float:
    """Share of all scans that are read if only flagged ones are: π·TPR + (1 − π)·FPR, at 50/50 and
    95 % sensitivity .475 + FPR / 2 (Zimmerer 2022, chapter 4).

    Examples:
        >>> from aberra.mood.scorer import share_read
        >>> share_read(0.5), round(share_read(0.5, prevalence=0.01), 4)
        (0.725, 0.5045)
    """
    return prevalence * tpr + (1 - prevalence) * fpr


@configured("mood score")
def score(
    predictions: Path,
    labels: Path,
    *,
    task: Task,
    out: Path,
    team: str = "",
    dataset: str = "",
    split: str | None = None,
    prevalence: Between = 0.5,
    n_boot: Annotated[int, Within(1, 100_000)] = 500,
    batch: Count = BATCH,
    seed: int = 0,
    progress: bool = False,
) -> Scores:
    """Score predictions against labels and write tables, figures and ``score.json``.

    After the public evaluation of the Medical Out-of-Distribution Analysis challenge (Zimmerer et
    al. 2022, doi 10.1109/TMI.2022.3170077): labels are rounded to 0 and 1, predictions clamped to
    [0, 1], maps read as float16, and a prediction that is missing, unreadable or of another shape is
    zeros. Sample AP is over all cases; pixel AP the mean over random fixed batches of scans.

    Deviation: a prediction with NaN or infinite values counts as unreadable, where the public code
    stops.

    Args:
        predictions: folder of ``<case>.nii.gz`` or ``<case>.nii.gz.txt``, or of results.
        labels: folder with ``pixel`` and ``sample``, or a manifest.
        task: ``sample`` (a number a scan) or ``pixel`` (a map).
        out: folder of what is written.
        team: whose the predictions are; the name of their folder without.
        dataset: name of the labels; that of their folder without.
        split: only this split of a manifest.
        prevalence: share of anomalous scans where reading is saved.
        n_boot: bootstrap replicates over patients.
        batch: scans a batch.
        seed: of batches and bootstrap.
        progress: show a progress bar.

    Raises:
        InputError: there are no labels or no predictions, labels cannot be read, or are of one class.
        OutputError: ``out`` holds something else, or lies in what is read.
    """
    truths, notes = read_truths(labels, task, split=split)
    given = Predictions.of(predictions, task)
    keep_out(out, [predictions, *(path for truth in truths for path in (truth.lesion, truth.scan) if path)])
    settings = {"task": task, "split": split, "batch": batch, "seed": seed}
    identity = config_hash([str(predictions.resolve()), str(labels.resolve()), settings])
    claim(out, "scores", identity=identity, other="scores of something else are there; choose another --out")
    if given.unit is not None:
        notes.append(f"results brought into [0, 1]: {given.unit.words[WHAT[task]]}")
    facts: dict[str, Any] = {
        "team": team or predictions.resolve().name,
        "dataset": dataset or _name_of(labels),
        "task": task,
        "notes": notes,
    }
    groups = groups_of(truths)
    if task == "sample":
        found = Scores(**facts, **_samples(given, truths, groups, out, n_boot=n_boot, seed=seed))
        found.reading.update(_reading(found.exact, prevalence))
    else:
        found = Scores(
            **facts,
            **_pixels(
                given, truths, groups, out, n_boot=n_boot, batch=batch, seed=seed, progress=progress
            ),
        )  # fmt: skip
    _write(found, out, settings)
    return found


WHAT = {"sample": "score", "pixel": "map"}
"""What is predicted in a task."""


def _name_of(labels: Path) -> str:
    """What a set of labels is called: its folder, without the challenge's ``toy_label``."""
    place = labels.resolve()
    return place.parent.name if place.suffix or place.name == "toy_label" else place.name


def _samples(
    given: Predictions, truths: Sequence[Truth], groups: Sequence[Group], out: Path, *, n_boot: int, seed: int
) -> dict[str, Any]:
    """Scores of scans."""
    values, zeros = dict[str, float](), dict[str, str]()
    for truth in truths:
        try:
            values[truth.case] = given.score(truth.case)
        except Exception as error:  # noqa: BLE001 - what cannot be read counts as 0, and is told
            values[truth.case], zeros[truth.case] = 0.0, told(error, out, truth.case)
    labels = {truth.case: int(truth.label or 0) for truth in truths}
    scores, marks = np.array([*values.values()]), np.array([*labels.values()], bool)
    if marks.all() or not marks.any():
        raise InputError(
            f"{len(marks)} case(s), all {'anomalous' if marks.all() else 'healthy'}; expected both"
        )
    exact = with_intervals(
        {
            "ap": lambda drawn: average_precision(scores[drawn], marks[drawn]),
            "auroc": lambda drawn: auroc(scores[drawn], marks[drawn]),
            "fpr95": lambda drawn: fpr_at_tpr(scores[drawn], marks[drawn]),
        },
        [truth.patient for truth in truths],
        replicates=n_boot,
        seed=seed,
    )
    return {
        "value": exact["ap"],
        "published": {"ap": exact["ap"]},
        "exact": exact | {"prevalence": float(marks.mean())},
        "cases": [
            {"case": truth.case, "patient": truth.patient, "label": labels[truth.case]}
            | {"score": values[truth.case], "zeros": zeros.get(truth.case, "")}
            for truth in truths
        ],
        "groups": sample_rows(groups, values, labels),
        "zeros": zeros,
    }


def _pixels(
    given: Predictions,
    truths: Sequence[Truth],
    groups: Sequence[Group],
    out: Path,
    *,
    n_boot: int,
    batch: int,
    seed: int,
    progress: bool,
) -> dict[str, Any]:
    """Maps, one scan at a time."""
    from rich.progress import track

    batches = Batches([truth.case for truth in truths], size=batch, seed=seed)
    exact, bootstrap = VoxelHistogram(), PatientBootstrap(n_boot, seed)
    kinds, rows, zeros = PixelGroups(groups), list[dict[str, Any]](), dict[str, str]()
    for truth in track(truths, description="scoring", disable=not progress):
        lesion, scan = truth.read()
        try:
            values = given.map(truth, scan, lesion.shape)
        except Exception as error:  # noqa: BLE001 - what cannot be read counts as zeros, and is told
            values, zeros[truth.case] = np.zeros(lesion.shape, np.float32), told(error, out, truth.case)
        counts = count(values, lesion)
        ap = curve(counts).ap
        batches.add(truth.case, counts)
        exact.add(values, lesion)
        bootstrap.add(truth.patient, values, lesion)
        kinds.add(truth.case, counts, ap)
        told_of = {"case": truth.case, "patient": truth.patient, "label": int(ap is not None), "ap": ap}
        rows.append(told_of | {"score": float(values.max()), "zeros": zeros.get(truth.case, "")})
    pooled = exact.curve()
    if pooled.ap is None:
        raise InputError(f"{len(rows)} case(s), none of which has an anomalous voxel; expected some")
    passes = batches.ap()
    first, second = (float(np.mean([ap for ap in each if ap is not None])) for each in passes)
    spread = bootstrap.intervals()
    return {
        "value": first,
        "published": {"ap": first, "second": second, "batches": len(passes[0]), "left_out": passes[0].count(None)},
        "exact": {
            "ap": pooled.ap, "ap_interval": spread["ap"], "auroc": pooled.auroc, "auroc_interval": spread["auroc"],
            "prevalence": pooled.prevalence,
        },
        "cases": rows,
        "groups": kinds.rows(),
        "batches": [
            {"pass": turn + 1, "batch": index + 1, "ap": ap}
            for turn, each in enumerate(passes)
            for index, ap in enumerate(each)
        ],
        "zeros": zeros,
    }  # fmt: skip


def _reading(exact: dict[str, Any], prevalence: float) -> dict[str, float]:
    """What is left to read at :data:`TPR`."""
    read = share_read(exact["fpr95"], prevalence)
    return {"prevalence": prevalence, "tpr": TPR, "read": read, "saved": 1 - read}


def _write(found: Scores, out: Path, settings: dict[str, Any]) -> None:
    """Tables, figures and, last, ``score.json``."""
    from aberra.mood.curves import group_figures
    from aberra.mood.tables import as_markdown

    write_text(out / "cases.csv", csv_text(CASES, found.cases))
    if found.batches:
        write_text(out / "batches.csv", csv_text(BATCHES, found.batches))
    if found.groups:
        write_text(out / "groups.csv", csv_text(GROUP_COLUMNS, found.groups))
        group_figures(out, found.groups)
    write_text(out / "table.md", as_markdown(found))
    write_json(out / "score.json", asdict(found) | {"settings": settings, "versions": versions()})
