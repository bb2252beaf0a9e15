"""Hold a detector against a shift of scanner: does it see lesions, or where a scan comes from?"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.audit.features import feature_names, shift_features
from aberra.audit.judge import Seen, judge
from aberra.audit.maps import WORDS, Map, expect, places
from aberra.audit.measures import NEIGHBOURS, REFERENCE, Row, summary
from aberra.audit.page import render_page
from aberra.audit.pictures import code_of, sheets
from aberra.audit.shift import ShiftScore, moved_by_lesions
from aberra.cohort import Cohort
from aberra.cohort.inputs import inputs_of, keep_out
from aberra.cohort.manifest import expect_cohort
from aberra.detector import Detector
from aberra.errors import CalibrationError, ConfigError
from aberra.failures import refuse, told
from aberra.files import config_hash, csv_text, write_json, write_text
from aberra.foreground import region
from aberra.metrics.case import resolved
from aberra.options import Between, Count, Maybe, configured
from aberra.output import check_names, claim
from aberra.prepare.histogram_match import HistogramMatch
from aberra.versions import versions
from aberra.workflows.calibrate import unseen

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from aberra.cohort import Case
    from aberra.volume import Volume

LEVEL = 0.05
"""Share of scans of the reference's scanner that may be distrusted."""

PLANT_INTO = 12
"""Reference scans that lesions are planted into, so that the shift score learns to overlook them."""

MATCHED = "{}, matched"
"""Name of a cohort after histogram matching."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What an audit found.

    Attributes:
        rows: the cases, the reference's first.
        summary: of :func:`aberra.audit.measures.summary`.
        level: of trust.
        model: the detector's identity.
        notes: what a reader must know.
        folder: where all is written.
    """

    rows: list[Row]
    summary: list[dict[str, Any]]
    level: float
    model: dict[str, str]
    folder: Path
    notes: list[str] = field(default_factory=list)


@configured("audit")
def audit(
    detector: Detector,
    reference: Cohort,
    tests: Mapping[str, Cohort],
    *,
    out: Path,
    channels: Sequence[str] | None = None,
    level: Between = LEVEL,
    neighbours: Count = NEIGHBOURS,
    adapt: Maybe = 0,
    match: bool = False,
    layout: Map = "pca",
    progress: bool = False,
    failed: MutableMapping[str, str] | None = None,
) -> Audit:
    """Score healthy reference scans and cohorts of other scanners, and say of each score whether it
    sees lesions or scanners, and of each case whether its scanner is one that the reference knows.

    After Heer 2021 (ETH Zurich), chapter 5: the three groups (healthy, healthy of another domain,
    lesional) and what each score tells of them. Deviation: the gate is a distance of scanner
    statistics in which planted lesions are forgiven (:class:`aberra.audit.shift.ShiftScore`), not a
    second model.

    Args:
        detector: stays as it is.
        reference: healthy cases of the scanner that the detector is used on; those that it has
            learnt from are left out.
        tests: name to cohort; cases with a label or a lesion file count as healthy or lesional.
        out: folder for ``audit.json``, ``cases.csv``, ``summary.csv`` and ``audit.html``.
        channels: manifest columns to read.
        level: p-value of the shift at which a case is not trusted.
        neighbours: healthy scans of the most similar scanner that a score is held against.
        adapt: so many healthy cases of each tested cohort, its first, become healthy scans to hold
            the others against; they are not counted themselves.
        match: also analyse each cohort after histogram matching to the reference.
        layout: how the cases are laid out on the page's map, see :func:`aberra.audit.maps.places`.
        progress: show a progress bar.
        failed: gets case and reason of those that fail.

    Raises:
        CalibrationError: too few healthy reference cases for the level.
        ConfigError: no test cohort, names that are no names, or a map whose package is missing.
        OutputError: ``out`` holds something else, or lies in what is read.
        InputError: no case of a cohort can be used.
    """
    failed = {} if failed is None else failed
    for each in (reference, *tests.values()):
        expect_cohort(each)
        keep_out(out, inputs_of(each))
    if not tests:
        raise ConfigError("audit: no cohort to test; as in --test other-scanner.csv")
    check_names(tests, reserved=(REFERENCE,))
    expect(layout)
    wanted = list(channels) if channels else None
    healthy = unseen(detector, [case for case in reference if case.healthy], wanted)
    if not resolved(level, len(healthy)):
        raise CalibrationError(
            f"{reference.source}: {len(healthy)} healthy case(s) that the model has not learnt from; a level of {level:g} needs {int(np.ceil(1 / level)) - 1}"
        )
    left = sum(case.healthy for case in reference) - len(healthy)
    notes = [f"{left} reference case(s) left out: the model learnt from them"] if left else []
    settings = {"level": level, "neighbours": neighbours, "adapt": adapt, "match": match, "layout": layout}
    identity = config_hash(
        [
            detector.identity["fingerprint"],
            settings,
            *(cohort.data_hash(wanted) for cohort in (reference, *tests.values())),
        ]
    )
    claim(
        out,
        "audit",
        identity=identity,
        other="an audit of other scans or settings is there; choose another --out",
    )
    matching = HistogramMatch() if match else None
    if matching is not None:
        matching.fit(_masked(detector.read(case, wanted)) for case in healthy)
    own = _look(detector, healthy, REFERENCE, wanted, failed, out=out, progress=progress)
    moved = _moved(detector, healthy, wanted)
    seen = list(own)
    for name, cohort in tests.items():
        given = {case.case for case in [case for case in cohort if case.label == 0][:adapt]}
        if adapt and len(given) < adapt:
            notes.append(f"{name}: {len(given)} healthy case(s) to adapt with instead of {adapt}")
        for step in (None, matching) if matching is not None else (None,):
            called = name if step is None else MATCHED.format(name)
            seen += _look(
                detector, cohort, called, wanted, failed, out=out, given=given, step=step, progress=progress
            )
    shift = ShiftScore.of(np.stack([each.features for each in own]), moved, feature_names(detector.channels))
    rows = judge(seen, shift, level=level, neighbours=neighbours)
    found = Audit(
        rows=rows, summary=summary(rows, level=level), level=level, model=detector.identity, folder=out,
        notes=notes,
    )  # fmt: skip
    _write(found, seen, detector, settings)
    return found


def _look(
    detector: Detector,
    cases: Sequence[Case] | Cohort,
    cohort: str,
    channels: Sequence[str] | None,
    failed: MutableMapping[str, str],
    *,
    out: Path,
    given: Collection[str] = (),
    step: HistogramMatch | None = None,
    progress: bool = False,
) -> list[Seen]:
    """Measure the cases that can be read; ``failed`` gets the others."""
    from rich.progress import track

    found, errors = list[Seen](), dict[str, Exception]()
    for case in track(list(cases), description=cohort, disable=not progress):
        try:
            volume = detector.read(case, channels)
            if step is not None:
                volume = step(_masked(volume)).with_(mask=volume.mask)
            analysis = detector.analyse(volume)
            known = case.label is not None or case.lesion is not None
            found.append(
                Seen(
                    case=case.case,
                    cohort=cohort,
                    lesion=not case.healthy if known else None,
                    score=analysis.score,
                    features=shift_features(volume),
                    code=code_of(detector, analysis.prepared),
                    adapted=case.case in given,
                )
            )
        except Exception as error:  # noqa: BLE001 - one case never ends a cohort
            errors[case.case] = error
    if not found:
        refuse(errors, "audited", out)
    failed.update({f"{cohort}: {case}": told(error, out, case) for case, error in errors.items()})
    return found


def _masked(volume: Volume) -> Volume:
    """The scan with its foreground as mask."""
    return volume.with_(mask=region(volume))


def _moved(
    detector: Detector, healthy: Sequence[Case], channels: Sequence[str] | None
) -> NDArray[np.float64]:
    """What planted lesions move in some of the reference scans, (M, F)."""
    chosen = np.unique(np.linspace(0, len(healthy) - 1, PLANT_INTO).round().astype(int))
    found = []
    for index in chosen:
        try:
            volume = detector.read(healthy[index], channels)
        except Exception:  # noqa: BLE001, S112 - told of by _look
            continue
        found.append(moved_by_lesions(volume, [0, int(index)]))
    return np.concatenate(found)


def _write(found: Audit, seen: Sequence[Seen], detector: Detector, settings: Mapping[str, Any]) -> None:
    """The numbers, then the page."""
    codes = [each.code for each in seen if each.code is not None]
    whole = len(codes) == len(seen)
    whose = "the model's codes" if whole else "scanner statistics"
    values = np.stack(codes) if whole else np.stack([each.features for each in seen])
    fitted = values[[row.cohort == REFERENCE for row in found.rows]]
    distrusted = sum(not row.trusted for row in found.rows)
    page = render_page(
        found.rows,
        found.summary,
        places(values, fitted, settings["layout"]),
        map_of=f"{whose} ({WORDS[settings['layout']]})",
        facts={
            "model": f"{found.model['name']} ({found.model['method']})",
            "cases": str(len(found.rows)),
            "not trusted": f"{distrusted} at a level of {found.level:g}",
        },
        notes=found.notes,
        pictures=sheets(detector),
    )
    rows = [row.to_json() | {"reasons": "; ".join(row.reasons)} for row in found.rows]
    write_text(found.folder / "cases.csv", csv_text(list(rows[0]), rows))
    write_text(found.folder / "summary.csv", csv_text(list(found.summary[0]), found.summary))
    write_text(found.folder / "audit.html", page)
    content = {
        "model": found.model, "settings": dict(settings), "notes": found.notes, "summary": found.summary,
        "cases": [row.to_json() for row in found.rows], "versions": versions(),
    }  # fmt: skip
    write_json(found.folder / "audit.json", content)
