"""Does the scanner tell the class, and can a classifier tell the scanner?"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.audit.bias_page import CLASSES, by_site_alone, class_of, render_bias
from aberra.audit.features import shift_features
from aberra.audit.maps import tsne
from aberra.audit.pictures import code_of
from aberra.audit.probe import RANGE, cramers_v, expect_sites, histogram, intensities, probe
from aberra.capabilities import Encodes
from aberra.cohort import Cohort
from aberra.cohort.inputs import inputs_of, keep_out
from aberra.cohort.manifest import expect_cohort
from aberra.covariates import SITE
from aberra.detector import Detector
from aberra.errors import PairingError
from aberra.failures import refuse, told
from aberra.files import config_hash, csv_text, write_json, write_text
from aberra.method import Method
from aberra.options import Maybe, configured
from aberra.output import claim
from aberra.prepare import Recipe
from aberra.versions import versions
from aberra.workflows.fit import plan_recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from aberra.cohort import Case
    from aberra.volume import Volume

METHOD = "classifier"
"""Whose preparation is looked at without a detector."""

PERMUTATIONS = 50


@dataclass(frozen=True, kw_only=True)
class SiteBias:
    """What was found.

    Attributes:
        probes: a row for each kind of numbers: ``name``, how many ``numbers``, ``accuracy``,
            ``chance`` and ``p``.
        confusion: a row for each site: ``site`` and a count for each class.
        association: Cramér's V of class and site; None where all cases are of one class.
        by_site: share of cases whose class is told by their site alone.
        notes: what a reader must know.
        folder: where all is written.
    """

    probes: list[dict[str, Any]]
    confusion: list[dict[str, Any]]
    association: float | None
    by_site: float
    folder: Path
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A case that could be read.

    Attributes:
        case: as the manifest has it.
        site: of the column.
        before: quantiles of its channels, as read.
        after: the same, prepared.
        scanner: scanner statistics, as read, and prepared.
        code: of a model that has one.
    """

    case: Case
    site: str
    before: list[NDArray[np.float64]]
    after: list[NDArray[np.float64]]
    scanner: tuple[NDArray[np.float64], NDArray[np.float64]]
    code: NDArray[np.float64] | None


@configured("site-bias")
def site_bias(
    cohort: Cohort,
    *,
    out: Path,
    detector: Detector | None = None,
    method: str = METHOD,
    by: str = SITE,
    channels: Sequence[str] | None = None,
    permutations: Maybe = PERMUTATIONS,
    progress: bool = False,
    failed: MutableMapping[str, str] | None = None,
) -> SiteBias:
    """Measure how far a cohort's classes go with its sites, and whether sites can be told from
    intensities, scanner statistics and a detector's codes, before and after preparation.

    After Wolleb 2022 (PhD thesis, Basel), chapter 9. Deviation: probes and Cramér's V are ours; the
    thesis shows histograms of two scanners and t-SNE of codes.

    Args:
        cohort: cases with a site each, ``label`` where it is known.
        out: folder for ``site-bias.html``, ``site-bias.json``, ``probes.csv``, ``confusion.csv``,
            ``histograms.csv`` and ``cases.csv``.
        detector: its preparation is looked at, and its codes where its model has some.
        method: catalogue name or file of the method whose preparation is looked at without one.
        by: the manifest's column that names the site.
        channels: columns of scans to read.
        permutations: of the sites, behind the p-values; 0 is none.
        progress: show a progress bar.
        failed: gets case and reason of those that fail.

    Raises:
        InputError: a case without a site, one site alone, or no case that can be read.
        PairingError: a detector whose model has no code.
        OutputError: ``out`` holds something else, or lies in what is read.
    """
    failed = {} if failed is None else failed
    expect_cohort(cohort)
    expect_sites([case.groups.get(by, "") for case in cohort], cohort.source, by)
    wanted = list(channels) if channels else list(detector.channels if detector else cohort.common_channels)
    if detector is not None and not isinstance(detector.model, Encodes):
        raise PairingError(
            f"{detector.method.name}: its model has no code; give a model that has one (classifier, l2i, vae …), or leave --model out"
        )
    keep_out(out, inputs_of(cohort))
    settings = {"by": by, "channels": wanted, "permutations": permutations, "method": method}
    of_model = detector.identity["fingerprint"] if detector else ""
    where = sorted((case.case, case.groups.get(by, ""), case.label) for case in cohort)
    claim(
        out,
        "site-bias",
        identity=config_hash([settings, of_model, cohort.data_hash(wanted), where]),
        other="other scans or settings were looked at there; choose another --out",
    )
    prepare = _preparation(detector, method, cohort, wanted)
    seen = _look(cohort, prepare, detector, channels=wanted, by=by, failed=failed, out=out, progress=progress)
    sites = [each.site for each in seen]
    expect_sites(sites, cohort.source, by)
    numbers = _numbers(seen, coded=detector is not None)
    probes, answers, notes = _probed(seen, numbers, by, permutations)
    counted = _counted(seen)
    found = SiteBias(
        probes=probes,
        confusion=counted,
        association=cramers_v(np.array([[row[each] for each in CLASSES[:2]] for row in counted])),
        by_site=by_site_alone([class_of(each.case.label) for each in seen], sites),
        folder=out,
        notes=notes,
    )
    _write(found, seen, numbers, answers, settings=settings, detector=detector)
    return found


def _preparation(
    detector: Detector | None, method: str, cohort: Cohort, channels: list[str]
) -> Callable[[Volume], Volume]:
    """The detector's recipe, or that which a method would plan for this cohort."""
    if detector is not None:
        return detector.recipe
    from aberra.cohort.fingerprint import fingerprint

    steps, _, _ = plan_recipe(Method.load(method), fingerprint(cohort, channels))
    recipe = Recipe.from_config(steps)
    recipe.fit(lambda: (case.read(channels) for case in cohort))
    return recipe


def _look(
    cohort: Cohort,
    prepare: Callable[[Volume], Volume],
    detector: Detector | None,
    *,
    channels: list[str],
    by: str,
    failed: MutableMapping[str, str],
    out: Path,
    progress: bool,
) -> list[_Seen]:
    """Measure the cases that can be read; ``failed`` gets the others."""
    from rich.progress import track

    found, errors = list[_Seen](), dict[str, Exception]()
    for case in track(list(cohort), description="site bias", disable=not progress):
        try:
            volume = case.read(channels)
            prepared = prepare(volume)
            found.append(
                _Seen(
                    case=case,
                    site=case.groups[by],
                    before=intensities(volume),
                    after=intensities(prepared),
                    scanner=(shift_features(volume), shift_features(prepared)),
                    code=None if detector is None else code_of(detector, prepared),
                )
            )
        except Exception as error:  # noqa: BLE001 - one case never ends a cohort
            errors[case.case] = error
    if not found:
        refuse(errors, "measured", out)
    failed.update({name: told(error, out, name) for name, error in errors.items()})
    return found


def _numbers(seen: list[_Seen], *, coded: bool) -> dict[str, NDArray[np.float64]]:
    """What sites are told from, by name, (N, F) each."""
    numbers = {
        "intensities, as they are": [np.concatenate(each.before) for each in seen],
        "intensities, prepared": [np.concatenate(each.after) for each in seen],
        "scanner statistics, as they are": [each.scanner[0] for each in seen],
        "scanner statistics, prepared": [each.scanner[1] for each in seen],
    }
    if coded:
        numbers["the model's codes"] = [each.code for each in seen if each.code is not None]
    return {name: np.stack(values) for name, values in numbers.items()}


def _probed(
    seen: list[_Seen], numbers: dict[str, NDArray[np.float64]], by: str, permutations: int
) -> tuple[list[dict[str, Any]], dict[str, dict[str, str]], list[str]]:
    """Rows of probes, what each told of the cases, and what a reader must know."""
    probes, answers = list[dict[str, Any]](), dict[str, dict[str, str]]()
    sites, patients = [each.site for each in seen], [each.case.patient for each in seen]
    for name, values in numbers.items():
        found = probe(values, sites, patients, [each.case.case for each in seen], permutations=permutations)
        if found is None:
            return [], {}, [f"no {by} can be told: it takes two of two patients or more"]
        answers[name] = found.told
        row = {"name": name, "numbers": values.shape[1], "accuracy": found.accuracy, "chance": found.chance}
        probes.append(row | {"p": found.p if permutations else None})
    left = sorted(
        {each.site for each in seen if each.case.case not in next(iter(answers.values()))}
    )  # every probe has the same cases
    return probes, answers, [f"left out of the probes, with one patient only: {', '.join(left)}"] * bool(left)


def _counted(seen: list[_Seen]) -> list[dict[str, Any]]:
    """A row for each site with the number of cases of each class."""
    pairs = [(each.site, class_of(each.case.label)) for each in seen]
    return [
        {"site": site} | {name: pairs.count((site, name)) for name in CLASSES}
        for site in sorted({site for site, _ in pairs})
    ]


def _write(
    found: SiteBias,
    seen: list[_Seen],
    numbers: dict[str, NDArray[np.float64]],
    answers: dict[str, dict[str, str]],
    *,
    settings: dict[str, Any],
    detector: Detector | None,
) -> None:
    """The tables, then the page."""
    names = [row["site"] for row in found.confusion]
    classes = [class_of(each.case.label) for each in seen]
    histograms = _histograms(seen, names, settings["channels"])
    last = next(reversed(numbers))
    places = tsne(numbers[last])
    rows = [
        {"case": each.case.case, "patient": each.case.patient, "site": each.site, "class": class_of(each.case.label)}
        | {f"told from {name}": told_of.get(each.case.case, "") for name, told_of in answers.items()}
        | ({} if places is None else dict(zip("xy", (f"{value:.4g}" for value in places[index]), strict=True)))
        for index, each in enumerate(seen)
    ]  # fmt: skip
    drawn = [
        {"histogram": title, "site": site, "from": f"{start:.6g}", "share": f"{share:.6g}"}
        for title, (low, high, means) in histograms.items()
        for site, mean in means.items()
        for start, share in zip(np.linspace(low, high, len(mean), endpoint=False), mean, strict=True)
    ]
    tables = {"cases": rows, "histograms": drawn, "probes": found.probes, "confusion": found.confusion}
    for name, table in tables.items():
        if table:
            write_text(found.folder / f"{name}.csv", csv_text(list(table[0]), table))
    page = render_bias(
        column=settings["by"], sites=names, confusion=found.confusion, association=found.association,
        by_site=found.by_site, probes=found.probes, histograms=histograms, places=places,
        of_cases={"site": [each.site for each in seen], "class": classes}, map_of=last,
        facts=_facts(seen, names, detector), notes=found.notes,
    )  # fmt: skip
    write_text(found.folder / "site-bias.html", page)
    content = {
        "settings": settings, "model": detector.identity if detector else None, "probes": found.probes,
        "confusion": found.confusion, "cramers_v": found.association, "by_site_alone": found.by_site,
        "notes": found.notes, "versions": versions(),
    }  # fmt: skip
    write_json(found.folder / "site-bias.json", content)


def _histograms(
    seen: list[_Seen], names: list[str], channels: list[str]
) -> dict[str, tuple[float, float, dict[str, NDArray[np.float64]]]]:
    """Title to the ends of the axis and each site's mean histogram, of each channel before and after
    preparation.
    """
    found = {}
    for index, channel in enumerate(channels):
        for title, of in (("as it is", "before"), ("prepared", "after")):
            quantiles = np.stack([getattr(each, of)[index] for each in seen])
            low, high = (float(value) for value in np.percentile(quantiles, RANGE))
            high = high if high > low else low + 1
            each = np.stack([histogram(row, low, high) for row in quantiles])
            means = {name: each[[case.site == name for case in seen]].mean(axis=0) for name in names}
            found[f"{channel}, {title}"] = (low, high, means)
    return found


def _facts(seen: list[_Seen], names: list[str], detector: Detector | None) -> dict[str, str]:
    facts = {
        "cases": str(len(seen)),
        "patients": str(len({each.case.patient for each in seen})),
        "sites": str(len(names)),
    }
    if detector is not None:
        facts["model"] = f"{detector.identity['name']} ({detector.identity['method']})"
    return facts
