"""What the checks work with: phantoms, and methods fitted on them.

Everything is made once, when it is first asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Literal
from weakref import finalize

import numpy as np

from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.errors import InputError
from aberra.files import config_hash
from aberra.foreground import region
from aberra.method import SUPERVISED, Conformance, Method
from aberra.registry import lookup
from aberra.synthesis import LesionParameters, plant, write_cohort

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.detector import Analysis
    from aberra.result import Result
    from aberra.volume import Volume

Grid = Literal["as it is", "flipped", "permuted", "oblique"]

SMALL: dict[str, Any] = {"contrast": "flair", "spacing": 6.0, "workers": 1, "progress": False}
"""Phantoms of 6 mm: a brain of some 25 × 32 × 27 voxels."""

QUICK = 10
"""Steps after which two fits of one seed are compared: what would differ after many, differs after
a few."""

UNSEEN = 4
"""Healthy cases that are kept out of the fit."""


class Bench:
    """The cohorts that methods learn from and are tried on, and what was fitted on them.

    Args:
        cohort: healthy cases, and diseased ones with masks for methods that learn from them;
            phantoms without.

    Raises:
        InputError: a cohort with too few healthy cases.
    """

    def __init__(self, cohort: Cohort | None = None) -> None:
        self.own = cohort
        self._folder = Path(mkdtemp(prefix="aberra-testing-"))
        finalize(self, rmtree, self._folder, ignore_errors=True)
        if cohort is not None and len(cohort.select(healthy=True)) < 2 * UNSEEN:
            raise InputError(
                f"{cohort.source}: {len(cohort.select(healthy=True))} healthy cases; the checks need {2 * UNSEEN} or more"
            )

    def place(self, name: str) -> Path:
        """A folder of this bench, which goes when the bench does."""
        return self._folder / name

    def _phantoms(self, name: str, **options: Any) -> Cohort:
        return Cohort.read(write_cohort(self.place(name), **(SMALL | options)))

    @cached_property
    def healthy(self) -> Cohort:
        """Ten healthy FLAIR phantoms to learn from, or all but the last of the cohort's healthy
        cases.
        """
        if self.own is None:
            return self._phantoms("healthy", cases=10, seed=1)
        cases = self.own.select(healthy=True)
        return Cohort(list(cases)[:-UNSEEN], source=cases.source)

    @cached_property
    def unseen(self) -> list[Volume]:
        """Healthy scans that no method learns from."""
        cases = (
            list(self.own.select(healthy=True))[-UNSEEN:]
            if self.own is not None
            else self._phantoms("unseen", cases=UNSEEN, seed=2)
        )
        return [case.read() for case in cases]

    @cached_property
    def diseased(self) -> Cohort:
        """Phantoms for methods that learn from lesions, two thirds with one large bright ellipsoid;
        or the cohort but its unseen cases.
        """
        if self.own is None:
            large: dict[str, Any] = {"shapes": ("ellipsoid",), "radius_mm": (12.0, 20.0), "count": (1, 1)}
            return self._phantoms("diseased", cases=24, lesions=0.7, seed=1, sources=("hyper",), **large)
        kept = {case.case for case in list(self.own.select(healthy=True))[-UNSEEN:]}
        return Cohort([case for case in self.own if case.case not in kept], source=self.own.source)

    @cached_property
    def two_channels(self) -> Cohort:
        """Phantoms with FLAIR and T1, half of them with lesions."""
        return self._phantoms("two-channels", cases=8, lesions=0.5, seed=3, contrast="flair,t1")

    def lessons(self, method: Method) -> Cohort:
        """The cohort that a method learns from."""
        return self.diseased if method.learns_from in SUPERVISED else self.healthy

    def fitted(self, method: Method) -> Detector:
        """A detector that has learnt as the method says, calibrated to its question; methods that
        learn the same share weights.
        """
        out = self.place(config_hash([method.name, method.settings]))
        if not out.exists():
            learnt = self.asked(method, "first")
            learnt.calibrate(self.lessons(method), method=method, out=out)
        return Detector.load(out)

    def asked(self, method: Method, label: str, cohort: Cohort | None = None) -> Detector:
        """A detector that has learnt as the method says and asks its question, not calibrated; the
        arguments are those of :meth:`learnt`.
        """
        return Detector.load(self.learnt(method, label, cohort)).asking(method)

    def learnt(self, method: Method, label: str = "first", cohort: Cohort | None = None) -> Path:
        """The folder of a fit, not calibrated.

        Args:
            method: at the size wanted.
            label: another one is another fit.
            cohort: to learn from; :meth:`lessons` without.
        """
        out = self.place(f"{label}-{config_hash(method.learnt)}")
        if not out.exists():
            lessons = self.lessons(method) if cohort is None else cohort
            cache = self.place(f"prepared-{label}")  # methods share it, two fits that are compared do not
            Detector.fit(method, lessons, out=out, cache=cache, workers=1, calibrated=False)
        return out


@cache
def phantom_bench() -> Bench:
    """The bench that all methods of a process share."""
    return Bench()


@dataclass(frozen=True)
class Sick:
    """A healthy scan with a lesion planted into it.

    Attributes:
        before: analysis of the healthy scan.
        after: analysis of the same scan with the lesion.
        truth: voxels of the lesion that were judged, (D, H, W).
        slices: voxels in the axial slices that the lesion lies in, (D, H, W).
    """

    before: Analysis
    after: Analysis
    truth: NDArray[np.bool]
    slices: NDArray[np.bool]


class Subject:
    """A method on a bench: what the checks look at.

    Args:
        method: as its file says.
        bench: cohorts.
    """

    def __init__(self, method: Method, bench: Bench) -> None:
        self.full = method
        self.method = method.at_test_size()
        self.bench = bench
        self.conformance = Conformance(**method.conformance)
        self._detected: dict[Grid, Result] = {}

    @property
    def model(self) -> type[Any]:
        """The model's class."""
        return lookup("models", self.method.model["name"])

    @property
    def score(self) -> type[Any]:
        """The score's class."""
        return lookup("scores", self.method.score["name"])

    @property
    def scan(self) -> Volume:
        """A healthy scan that the method has not seen."""
        return self.bench.unseen[0]

    @cached_property
    def detector(self) -> Detector:
        """After :data:`QUICK` steps, calibrated: for what holds of any weights."""
        return self.bench.fitted(self._after(QUICK))

    @cached_property
    def trained(self) -> Detector:
        """Trained as long as the method asks for at test size: for what has to be learnt."""
        return self.bench.fitted(self.method)

    @property
    def folder(self) -> Path:
        """Where it is saved."""
        folder = self.detector.folder
        if folder is None:
            raise AssertionError(f"{self.method.name}: a detector that was fitted has no folder")
        return folder

    def _after(self, steps: int, **settings: Any) -> Method:
        few = {"training.steps": steps} if self.method.training else {}
        return self.method.overridden(few | settings)

    def after(self, steps: int, label: str, cohort: Cohort | None = None, **settings: Any) -> Detector:
        """Fitted for a few steps only, with further settings and not calibrated; each label is a
        fit of its own.
        """
        return self.bench.asked(self._after(steps, **settings), label, cohort)

    @cached_property
    def analysis(self) -> Analysis:
        """What :attr:`detector` sees in the first unseen scan."""
        return self.detector.analyse(self.scan)

    @cached_property
    def analysis_one_by_one(self) -> Analysis:
        """What the saved detector sees in the first unseen scan, a slice or patch at a time."""
        return Detector.load(self.folder, batch_size=1).analyse(self.scan)

    @cached_property
    def analysis_after_few(self) -> Analysis:
        """What is seen in the first unseen scan after :data:`QUICK` steps."""
        return self.after(QUICK, "first").analyse(self.scan)

    def detected(self, grid: Grid) -> Result:
        """What the detector finds in the first unseen scan, on that grid."""
        if grid not in self._detected:
            self._detected[grid] = self.detector.detect(regrid(self.scan, grid))
        return self._detected[grid]

    @cached_property
    def sick(self) -> list[Sick]:
        """What :attr:`trained` sees in every unseen scan, without and with a lesion of the kind that
        the method looks for.
        """
        pairs = []
        for scan in self.bench.unseen:
            planted, lesion = with_lesion(scan, self.conformance.lesion)
            before, after = self.trained.analyse(scan), self.trained.analyse(planted)
            axial = next(axis for axis, letter in enumerate(scan.orientation) if letter in "SI")
            others = tuple(axis for axis in range(3) if axis != axial)
            slices = np.broadcast_to(lesion.any(axis=others, keepdims=True), lesion.shape)
            pairs.append(Sick(before, after, lesion & after.inside, slices))
        return pairs


def with_lesion(scan: Volume, source: str) -> tuple[Volume, NDArray[np.bool]]:
    """The scan with a bright (``hyper``) or dark (``hypo``) ball in the depth of its foreground,
    and the voxels of the ball.

    It has a radius of 18 mm, or less where there is no room.
    """
    from scipy.ndimage import distance_transform_edt

    inside = region(scan) if scan.mask is None else scan.mask
    depth = distance_transform_edt(inside, sampling=scan.spacing)
    d, h, w = (int(index) for index in np.unravel_index(depth.argmax(), depth.shape))
    lesion = LesionParameters(
        shape="ellipsoid", source=source, blend="alpha", label="binary", centre=(d, h, w),
        radius_mm=min(18.0, float(depth.max())), stretch=(1.0, 1.0, 1.0), strength=0.8, offset=(0, 0, 0),
        seed=1,
    )  # fmt: skip
    planted = plant(scan, lesion)[0]
    if planted.lesion is None:
        raise AssertionError("a lesion was planted, but the scan has none")
    return planted, planted.lesion


def regrid(scan: Volume, grid: Grid) -> Volume:
    """The same scan on another grid of the same space, or turned in space."""
    if grid == "flipped":
        moved = np.eye(4)
        moved[0, 0] = moved[2, 2] = -1
        moved[0, 3], moved[2, 3] = scan.shape[0] - 1, scan.shape[2] - 1
        data, affine = scan.data[..., ::-1, :, ::-1], scan.affine @ moved
        return scan.moved(lambda array: array[::-1, :, ::-1], data=data, affine=affine)
    if grid == "permuted":
        data, affine = np.moveaxis(scan.data, -1, -3), scan.affine[:, [2, 0, 1, 3]]
        return scan.moved(lambda array: np.moveaxis(array, -1, -3), data=data, affine=affine)
    if grid == "oblique":
        angle = np.deg2rad(17)
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        return scan.with_(affine=turn @ scan.affine)
    return scan
