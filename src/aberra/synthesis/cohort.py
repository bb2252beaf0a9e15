"""Whole folders of phantoms, or of a user's healthy scans with lesions planted, as NIfTI with truth
and manifest.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra import __version__
from aberra.cohort import Cohort
from aberra.cohort.inputs import inputs_of
from aberra.cohort.rows import unsafe
from aberra.errors import ConfigError, expect_known
from aberra.files import write_json
from aberra.output import check_names
from aberra.synthesis.anatomy import ATLAS, Anatomy
from aberra.synthesis.artefacts import ARTEFACTS, artefact
from aberra.synthesis.contrast import CONTRASTS as HEAD_CONTRASTS
from aberra.synthesis.folder import spread, write_files, write_folder, write_manifest
from aberra.synthesis.heads import draw_scans, render_head
from aberra.synthesis.lesions import draw_lesion, plant
from aberra.synthesis.parameters import SHAPES, SOURCES
from aberra.synthesis.phantom import channel_of, draw_channels, names_of, render
from aberra.synthesis.profiles import profiles as known_profiles
from aberra.synthesis.scans import MappedScan
from aberra.synthesis.shifts import SHIFTS, shift

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aberra.cohort import Case
    from aberra.volume import Volume

LESIONS = (1, 6)
"""Fewest and most lesions of a diseased case."""

ATTEMPTS = 8
"""How often a case is drawn anew whose lesions have no voxel."""

RADIUS_MM = (2.0, 15.0)
"""Smallest and largest mean radius of a lesion."""

PHANTOM = "phantom"
"""Site of phantoms that are of none in particular."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a folder holds; kept in its mark, ``.aberra.json``, and compared before anything is
    added.

    As the arguments of :func:`write_cohort`, with the files that ``masks`` and ``anatomy`` mean;
    ``contrast`` is empty for planted scans, whose ``origin`` is the hash of the scans that lesions
    are planted into.
    """

    cases: int
    lesions: float
    contrast: str
    spacing: float
    seed: int
    sources: tuple[str, ...]
    shapes: tuple[str, ...]
    masks: tuple[str, ...] = ()
    artefacts: tuple[str, ...] = ()
    count: tuple[int, int] = LESIONS
    radius_mm: tuple[float, float] = RADIUS_MM
    shift: str = ""
    severity: float = 0.5
    origin: str = ""
    anatomy: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    whole: bool = False
    site: str = PHANTOM
    version: str = field(default=__version__)

    def __post_init__(self) -> None:
        for kind, given, known in (
            ("lesion source", self.sources, SOURCES),
            ("lesion shape", self.shapes, SHAPES),
            ("artefact", self.artefacts, ARTEFACTS),
            ("shift", (self.shift,) if self.shift else (), SHIFTS),
            ("lesion profile", self.profiles, known_profiles()),
        ):
            expect_known(kind, given, known)
        if self.cases < 1 or not 0 <= self.lesions <= 1 or self.spacing <= 0:
            raise ConfigError(
                f"phantom: cases={self.cases}, lesions={self.lesions}, spacing={self.spacing}; expected 1 or more, a share in [0, 1], mm above 0"
            )
        if not 1 <= self.count[0] <= self.count[1] or not 0 < self.radius_mm[0] <= self.radius_mm[1]:
            raise ConfigError(
                f"phantom: count={self.count}, radius_mm={self.radius_mm}; expected smallest and largest, above 0"
            )
        if self.whole and self.anatomy in {(), (ATLAS,)}:
            raise ConfigError("phantom: whole heads need label maps (--anatomy FOLDER)")
        if wrong := unsafe(self.site):
            raise ConfigError(f"phantom: site '{self.site}' {wrong}")
        if "mask" in self.shapes and not self.masks:
            raise ConfigError("phantom: shape 'mask' needs --masks FOLDER with lesion masks")

    @property
    def settings(self) -> dict[str, Any]:
        """What the files depend on; folders that name no site are what they were before there were
        any.
        """
        return {key: value for key, value in vars(self).items() if (key, value) != ("site", PHANTOM)}

    def diseased(self, index: int) -> bool:
        """Whether case ``index`` has lesions: round(cases · lesions) of them, spread evenly."""
        return spread(index, self.cases, self.lesions)


def write_cohort(
    folder: Path | str,
    *,
    cases: int,
    lesions: float = 0.0,
    contrast: str = "flair",
    spacing: float = 2.0,
    seed: int = 0,
    sources: Sequence[str] = ("hyper", "hypo"),
    shapes: Sequence[str] = ("ellipsoid", "blob", "tube"),
    masks: Path | str | None = None,
    artefacts: Sequence[str] = (),
    count: tuple[int, int] = LESIONS,
    radius_mm: tuple[float, float] = RADIUS_MM,
    shift: str = "",
    severity: float = 0.5,
    anatomy: Path | str | Sequence[str] | None = None,
    profiles: Sequence[str] = (),
    whole: bool = False,
    site: str = PHANTOM,
    workers: int = 2,
    progress: bool = True,
) -> Path:
    """Write a phantom cohort and return its manifest.

    Each case gives ``<case>_<channel>.nii.gz``, ``<case>_mask.nii.gz``, for diseased ones
    ``<case>_lesion.nii.gz``, and ``<case>.json`` with all drawn parameters. The manifest comes
    last; an interrupted call is completed by the same call.

    Args:
        folder: of the cohort.
        cases: how many.
        lesions: share of them with 1 to 6 lesions.
        contrast: ``flair``, ``t1``, ``t1ce``, ``t2`` or ``random`` (another one a case); several,
            comma-separated as in ``t1,t2,flair``, are channels of the same head with the same
            lesions. With ``anatomy`` or ``profiles`` also ``ct``, in HU.
        spacing: isotropic voxel size in mm.
        seed: the same seed gives the same bytes.
        sources: lesion sources to draw from.
        shapes: lesion shapes to draw from.
        masks: folder of lesion masks (or a pattern in one, ``folder/ms_*``) whose shapes are drawn
            besides; with ``profiles`` all lesions have such shapes.
        artefacts: names of which one is drawn a case.
        count: fewest and most lesions of a diseased case.
        radius_mm: smallest and largest mean radius; small ones are frequent.
        shift: a change of scanner for the whole cohort (see :mod:`aberra.synthesis.shifts`), the
            same anatomy and lesions.
        severity: of the shift, 0 to 1.
        anatomy: label maps, a folder of them or a pattern in one; phantoms are images of these
            heads instead of the MNI tissue maps. Cases of one head are one patient.
        profiles: diseases (``ms``, ``tumour`` …) that lesions are painted by, one a case; without
            ``anatomy`` into the brain of the MNI tissue maps.
        whole: with skull and skin, as far as the label maps have them; only with ``anatomy``.
        site: what the manifest's column ``site`` says, and with what names of cases begin; with a
            ``shift`` of its own, a scanner.
        workers: most processes; little work is done by one. With more than one a script needs
            ``if __name__ == "__main__":``, as they import it anew.
        progress: show a progress bar.

    Raises:
        OutputError: the folder holds another cohort.
        ConfigError: an unknown name or a number out of range.
    """
    plan = _plan(
        masks, shapes, cases=cases, lesions=lesions, contrast=",".join(name.strip() for name in contrast.split(",")), spacing=spacing,
        seed=seed, sources=sources, artefacts=artefacts, count=count, radius_mm=radius_mm, shift=shift, severity=severity,
        anatomy=(ATLAS,) if anatomy is None and profiles else _nifti_files(anatomy), profiles=profiles, whole=whole, site=site,
    )  # fmt: skip
    if anatomy is not None and not plan.anatomy:
        raise ConfigError(f"{anatomy}: no label map here; expected NIfTI files (*.nii.gz)")
    # an unknown contrast is an error before anything is written
    if plan.anatomy:
        expect_known("contrast of label maps", names_of(plan.contrast), HEAD_CONTRASTS)
    else:
        draw_channels(seed, 0, contrast)
    return _write(Path(folder), plan, None, workers, progress=progress)


def lesion_cohort(
    cohort: Cohort,
    folder: Path | str,
    *,
    lesions: float = 0.5,
    seed: int = 0,
    sources: Sequence[str] = ("hyper", "hypo"),
    shapes: Sequence[str] = ("ellipsoid", "blob", "tube"),
    masks: Path | str | None = None,
    artefacts: Sequence[str] = (),
    count: tuple[int, int] = LESIONS,
    radius_mm: tuple[float, float] = RADIUS_MM,
    shift: str = "",
    severity: float = 0.5,
    profiles: Sequence[str] = (),
    workers: int = 2,
    progress: bool = True,
) -> Path:
    """Plant lesions into a share of a cohort's healthy scans and return the manifest of the copies.

    Diseased cases are left out, and the user's files are not touched. A share ``lesions`` of the
    others gets some, the rest are copied as they are. ``profiles`` are diseases whose lesions are
    painted, one a case, in turn; these cases need tissue maps (column ``labels``). What else is
    asked for is as in :func:`write_cohort`.

    Raises:
        OutputError: the folder holds another cohort.
        ConfigError: no healthy case, or none has the tissue map that ``profiles`` need.
    """
    healthy = cohort.select(healthy=True)
    if not len(healthy):
        raise ConfigError(f"{cohort.source}: no healthy case to plant lesions into")
    if profiles and (without := [case.case for case in healthy if case.labels is None]):
        raise ConfigError(
            f"{cohort.source}: {', '.join(without[:5])}: no tissue map; lesions by disease need the column 'labels' of the manifest"
        )
    plan = _plan(
        masks, shapes, cases=len(healthy), lesions=lesions, contrast="", spacing=1.0, seed=seed, sources=sources, artefacts=artefacts,
        count=count, radius_mm=radius_mm, shift=shift, severity=severity, profiles=profiles, origin=healthy.data_hash(),
    )  # fmt: skip
    return _write(Path(folder), plan, list(healthy), workers, progress=progress)


def _plan(masks: Path | str | None, shapes: Sequence[str], **settings: Any) -> Plan:
    """The plan of these settings; real lesions are one shape more."""
    files = _nifti_files(masks)
    shapes = (*shapes, "mask") if files and "mask" not in shapes else tuple(shapes)
    named = {name: tuple(settings[name]) for name in ("sources", "artefacts", "profiles")}
    return Plan(masks=files, shapes=shapes, **settings | named)


def _nifti_files(folder: Path | str | Sequence[str] | None) -> tuple[str, ...]:
    """Files of a folder, of a pattern in one (``masks/ms_*``), or as they are given."""
    if not isinstance(folder, Path | str):
        return tuple(folder or ())
    path = Path(folder)
    found = path.glob("*.nii*") if path.is_dir() else path.parent.glob(path.name)
    return tuple(str(each) for each in sorted(found))


def _write(folder: Path, plan: Plan, origin: list[Case] | None, workers: int, *, progress: bool) -> Path:
    """Write missing cases in parallel, then the manifest."""
    cases: list[Case | None] = [*origin] if origin else [None] * plan.cases
    names = [case.case if case else f"{plan.site}-{index:04d}" for index, case in enumerate(cases)]
    jobs = {name: partial(_write_case, folder, plan, i, name, cases[i]) for i, name in enumerate(names)}
    inputs = [Path(path) for path in plan.masks]
    if origin:
        inputs += inputs_of(Cohort(origin))
        check_names(f"{case.case}_{name}" for case in origin for name in (*case.channels, "mask", "lesion"))
    title = "phantoms" if origin is None else "planting"
    records = write_folder(
        folder, plan.settings, jobs, title=title, inputs=inputs, workers=workers, progress=progress
    )
    labelled = [record | {"label": int(bool(record["lesions"]))} for record in records]
    drawn = [channel_of(name) for name in plan.contrast.split(",")] if origin is None else None
    return write_manifest(folder, labelled, drawn)


def _write_case(folder: Path, plan: Plan, index: int, name: str, origin: Case | None) -> None:
    """Render or read, plant, disturb and write one case; its JSON comes last and marks it as done."""
    rng = np.random.default_rng([plan.seed, index, 2])
    record: dict[str, Any] = {"case": name, "lesions": []}
    if origin is None and plan.anatomy:
        volume, found = _head(plan, index, name)
        named = {"profile": found["profile"]} if found["profile"] else {}
        record |= {"groups": {"site": plan.site, **named}, **found}
    elif origin is None:
        drawn = draw_channels(plan.seed, index, plan.contrast)
        volume = render(drawn, plan.spacing)
        head, *more = drawn
        record |= {
            "phantom": asdict(head),
            "patient": name,
            "groups": {"site": plan.site, "age": str(head.age), "sex": head.sex},
        }
        if more:
            record["more_channels"] = [asdict(each) for each in more]
    else:
        volume = origin.read()
        record |= {
            "patient": origin.patient,
            "groups": origin.groups,
            "source": {k: str(v) for k, v in origin.channels.items()},
        }
        if plan.profiles and plan.diseased(index):
            volume, found = _painted(plan, index, volume, origin)
            record |= found | {"groups": {**origin.groups, "profile": found["profile"]}}
    if plan.diseased(index) and not plan.profiles:
        for _ in range(int(rng.integers(plan.count[0], plan.count[1] + 1))):
            lesion = draw_lesion(
                volume, rng, sources=plan.sources, shapes=plan.shapes, radius_mm=plan.radius_mm, mask_files=plan.masks
            )  # fmt: skip
            volume, _ = plant(volume, lesion)
            record["lesions"].append(asdict(lesion))
    if plan.artefacts:
        chosen, severity = str(rng.choice(list(plan.artefacts))), round(float(rng.uniform(0.2, 0.8)), 3)
        volume = artefact(chosen, volume, severity=severity, seed=int(rng.integers(2**31)))
        record["artefact"] = {"name": chosen, "severity": severity}
    if plan.shift:
        volume = shift(plan.shift, volume, severity=plan.severity, seed=plan.seed)
        record["shift"] = {"name": plan.shift, "severity": plan.severity}
    record["files"] = write_files(folder, name, volume)
    write_json(folder / f"{name}.json", record)


def _painted(plan: Plan, index: int, volume: Volume, origin: Case) -> tuple[Volume, dict[str, Any]]:
    """Paint the lesions of one disease into a scan; the next profile a diseased case, so that each
    has its share.
    """
    if origin.labels is None:
        raise ConfigError(f"{origin.case}: no tissue map; lesions by disease need the column 'labels'")
    scan = MappedScan.of(volume, origin.labels)
    before = sum(plan.diseased(each) for each in range(index))
    profile = plan.profiles[before % len(plan.profiles)]
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([plan.seed, index, 6, attempt])
        lesions = scan.draw(profile, rng, plan.masks)
        after = scan.onto(scan.painted(lesions), volume)
        if np.any(after.lesion):
            return after, {"profile": profile, "lesions": [asdict(each) for each in lesions]}
    raise ConfigError(f"{origin.case}: no lesion of {profile} finds a place")


def _head(plan: Plan, index: int, name: str) -> tuple[Volume, dict[str, Any]]:
    """Draw and render a case from a label map: the scan, one channel a contrast, and its record."""
    names = plan.contrast.split(",")
    path = plan.anatomy[index % len(plan.anatomy)]
    anatomy = Anatomy.atlas() if path == ATLAS else Anatomy.read(path, whole=plan.whole)
    record: dict[str, Any] = {"patient": name if path == ATLAS else anatomy.name.split(".")[0]}
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([plan.seed, index, 6, attempt])
        profile = str(rng.choice(list(plan.profiles))) if plan.profiles and plan.diseased(index) else None
        scans = draw_scans(rng, names, [profile] if profile else [], plan.masks)
        images = [render_head(each, anatomy, plan.spacing, whole=plan.whole) for each in scans]
        volume = images[0]
        if profile is None or np.any(volume.lesion):
            break
    else:
        raise ConfigError(
            f"{path}: no lesion of {', '.join(plan.profiles)} finds a place at {plan.spacing} mm"
        )
    record |= {
        "phantom": asdict(scans[0]),
        "profile": profile,
        "lesions": [asdict(each) for each in scans[0].lesions],
    }
    if len(scans) > 1:
        record["more_channels"] = [asdict(each) for each in scans[1:]]
    volume = volume.with_(
        data=np.concatenate([each.data for each in images]),
        channels=tuple(each.channels[0] for each in images),
    )
    return volume if profile else volume.with_(lesion=None), record
