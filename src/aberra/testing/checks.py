"""The checks: each looks at one method on a bench, and raises AssertionError where it does not
hold.
"""

from __future__ import annotations

import re
import tomllib
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import tomli_w
from sklearn.metrics import average_precision_score

from aberra.capabilities import Fits, FitsDensity, FitsSamples
from aberra.detector import Detector
from aberra.errors import AberraError, NotFittedError
from aberra.method import Method
from aberra.options import accepted
from aberra.registry import GIVEN, build, lookup, network_of
from aberra.scores import SmoothedScore
from aberra.testing.bench import QUICK, Grid, regrid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from aberra.testing.bench import Subject
    from aberra.volume import Volume

FEWEST = 2
"""Steps that show whether a method works at all."""

EXACT = 1e-3
"""Rounding, as a share of the map's own greatest value; of the gradients of a network that has hardly
learnt it was up to 5e-4."""

CLEAR = 2.0
"""Average precision over prevalence of a lesion that stands out."""


LEAST = 1e-3
"""Rise of a case score, as a share of it, that is more than chance."""


def same_seed_same_map(subject: Subject) -> None:
    """Two fits of one seed give the same map, bit for bit."""
    first, again = subject.analysis_after_few, subject.after(QUICK, "again").analyse(subject.scan)
    _alive(first.map)
    np.testing.assert_array_equal(first.map, again.map)


def saved_is_loaded(subject: Subject) -> None:
    """A saved detector gives the same map, identity and p-value when it is loaded."""
    loaded = Detector.load(subject.folder)
    expected, found = subject.analysis, loaded.analyse(subject.scan)
    _alive(expected.map)
    np.testing.assert_array_equal(found.map, expected.map)
    _that(loaded.identity == subject.detector.identity, "another identity after loading")
    _that(loaded.calibration == subject.detector.calibration, "another calibration after loading")
    _that(found.score == expected.score, "another case score after loading")


def map_on_the_scans_grid(subject: Subject) -> None:
    """Map, mask and uncertainty are finite, not negative, and on the scan's own grid, however that
    lies in space.
    """
    for grid in get_args(Grid):
        scan, result = regrid(subject.scan, grid), subject.detected(grid)
        _that(result.map.data.dtype == np.float32, f"{grid}: a map of {result.map.data.dtype}")
        _that(result.mask.shape == scan.shape, f"{grid}: a mask of shape {result.mask.shape}")
        for title, part in (("map", result.map), ("uncertainty", result.uncertainty)):
            if part is None:
                continue
            _that(part.shape == scan.shape, f"{grid}: {title} of shape {part.shape}, scan {scan.shape}")
            np.testing.assert_array_equal(part.affine, scan.affine)
            _alive(part.data, f"{grid}: {title}")


def orientation(subject: Subject) -> None:
    """The same scan with its axes turned round gives the same map."""
    expected = subject.analysis.map
    found = subject.detected("flipped").map.data[0, ::-1, :, ::-1]
    _close(found, expected, EXACT)


def batch_size(subject: Subject) -> None:
    """How many slices are scored at once changes the map by less than 1 % on average."""
    one, many = _batches(subject)
    _that(np.abs(one - many).mean() < 0.01 * one.mean(), "differs by 1 % or more on average")
    _that(np.abs(one - many).max() < 0.2 * one.max(), "differs by 20 % of the maximum or more somewhere")


def batch_size_exact(subject: Subject) -> None:
    """How many slices are scored at once changes the map by rounding only."""
    one, many = _batches(subject)
    _close(many, one, EXACT)


def _batches(subject: Subject) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Maps of one slice at a time and of as many as usual."""
    one = subject.analysis_one_by_one.map
    _alive(one)
    return one, subject.analysis.map


def degenerate_scans(subject: Subject) -> None:
    """A constant and an empty scan are errors that say so."""
    scan = subject.scan
    for data, message in (
        (np.full_like(scan.data, 100.0), r"constant \(100 everywhere\)"),
        ((scan.data > 0).astype(np.float32), r"constant \(1 in all of its foreground\)"),
        (np.zeros_like(scan.data), r"(?i)empty|foreground|mask"),
    ):
        with _refused(AberraError, message):
            subject.detector.analyse(scan.with_(data=data, mask=None))


def lesion_is_local(subject: Subject) -> None:
    """A lesion scores above its surroundings: in every scan on average, and over all scans by
    average precision.
    """
    precision, prevalence = [], []
    for sick in subject.sick:
        inside, scores = sick.after.inside, sick.after.map
        precision.append(average_precision_score(sick.truth[inside], scores[inside]))
        prevalence.append(sick.truth[inside].mean())
        _that(scores[sick.truth].mean() > scores[inside & ~sick.truth].mean(), "surroundings score higher")
    ratio = np.mean(precision) / np.mean(prevalence)
    _that(
        ratio > CLEAR, f"average precision is {ratio:.2f} times the prevalence; expected more than {CLEAR:g}"
    )


def lesion_changes_its_slices(subject: Subject) -> None:
    """A lesion changes the map more in the axial slices that it lies in than in the others, over
    all scans.
    """
    near, far = [], []
    for sick in subject.sick:
        change = np.abs(sick.after.map - sick.before.map)
        near.append(change[sick.after.inside & sick.slices].mean())
        far.append(change[sick.after.inside & ~sick.slices].mean())
    ratio = f"{np.mean(near):.3g} in its slices, {np.mean(far):.3g} in the others"
    _that(np.mean(near) > np.mean(far), f"the mean change is {ratio}")


def case_score_rises(subject: Subject) -> None:
    """A lesion raises the score of the case."""
    raised = float(np.median([sick.after.score - sick.before.score for sick in subject.sick]))
    level = float(np.median([abs(sick.before.score) for sick in subject.sick]))
    _that(raised > LEAST * level, f"the median change is {raised:.3g}, the median score {level:.3g}")


def unfitted(subject: Subject) -> None:
    """A model that has not learnt yet says so."""
    fitted = subject.detector
    network = build(
        "models", subject.method.model, channels=len(fitted.channels), dims=fitted.dims, size=fitted.size
    )
    with _refused(NotFittedError, "not fitted"):
        fitted.with_(model=network).analyse(subject.scan)


def use_changes_nothing(subject: Subject) -> None:
    """Fitting, loading and use change neither the method nor the scan."""
    full, small = deepcopy(subject.full.to_dict()), deepcopy(subject.method.to_dict())
    detector, scan = subject.detector, regrid(subject.scan, "as it is")
    asked, seen = deepcopy(detector.method.to_dict()), _arrays(scan)
    asks = detector.question
    score = asks.score.score
    parts = (score, getattr(score, "restore", asks), asks.postprocess, asks.case_score, detector.model)
    options = deepcopy([_plain(part) for part in parts])
    detector.detect(scan)
    _that(subject.full.to_dict() == full and subject.method.to_dict() == small, "the method was changed")
    _that(detector.method.to_dict() == asked, "the detector's method was changed")
    _that(
        [_plain(part) for part in parts] == options, "options of score, post-processing or model were changed"
    )
    for label, array in _arrays(scan).items():
        np.testing.assert_array_equal(array, seen[label], err_msg=f"the scan's {label} was changed")


def _arrays(scan: Volume) -> dict[str, Any]:
    return {
        label: None if (array := getattr(scan, label)) is None else array.copy()
        for label in ("data", "mask", "lesion", "affine")
    }


def arguments_round_trip(subject: Subject) -> None:
    """What a detector's file keeps of a method is the method, and all options of model and score go
    through TOML.
    """
    saved = tomllib.loads((subject.folder / "detector.toml").read_text(encoding="utf-8"))
    _that(
        Method.from_dict(saved["method"]).settings == subject.detector.method.settings,
        "detector.toml holds another method",
    )
    given = {"channels": len(saved["channels"]), "size": saved["size"], "dims": saved["dims"]}
    score = {key: value for key, value in subject.method.score.items() if key != "smooth"}
    parts = [("models", subject.model, subject.method.model), ("scores", subject.score, score)]
    if restore := score.get("restore"):
        parts.append(("restore", lookup("restore", restore["name"]), restore))
    if hasattr(subject.model, "NETWORK"):
        network = network_of(subject.model, subject.method.model.get("network"))
        parts.append(("networks", lookup("networks", network["name"]), network))
    for kind, cls, config in parts:
        known = given if kind in ("models", "networks") else {}
        built = build(kind, config, **known)  # type: ignore[arg-type]
        defaults = {key: default for key, (_, default) in accepted(cls).items() if key not in GIVEN}
        options = {
            key: default for key, default in defaults.items() if default is not None
        }  # TOML has no None
        text = tomli_w.dumps(options | config)
        again = build(kind, tomllib.loads(text), **known)  # type: ignore[arg-type]
        _that(
            _plain(again) == _plain(built),
            f"{cls.__name__} is another one after its options went through TOML",
        )


def _plain(part: Any) -> dict[str, Any]:
    """Attributes of a component that are numbers, texts or lists of them."""
    plain = (bool, int, float, str, list, tuple)
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in vars(part).items()
        if isinstance(value, plain) and not key.startswith("_")
    }


def two_channels(subject: Subject) -> None:
    """It learns from scans of two channels, scores them, and refuses those of one."""
    cohort = subject.bench.two_channels
    detector = subject.after(FEWEST, "two-channels", cohort)
    scan = cohort[0].read(detector.channels)
    _on_grid(detector.analyse(scan).map, scan)
    with _refused(AberraError, "1 channel"):
        detector.analyse(scan.with_(data=scan.data[:1], channels=scan.channels[:1]))


def other_dimensions(subject: Subject) -> None:
    """A model that takes ``dims`` works on volumes if the method is of slices, and on slices if it
    is of volumes.
    """
    other = 5 - subject.method.prepare.get("dims", 2)
    settings: dict[str, Any] = {"prepare.dims": other, "prepare.size": 32, "training.batch_size": 2}
    detector = subject.after(FEWEST, f"{other}-d", **settings)
    _that(detector.dims == other and len(detector.size) == other, f"a model of {detector.dims} dimensions")
    _on_grid(detector.analyse(subject.scan).map, subject.scan)


def tuning_is_idempotent(subject: Subject) -> None:
    """What a score finds on healthy cases, it finds again; and once it is set, there is nothing
    left to find.
    """
    detector = subject.detector
    volumes = [detector.recipe(scan) for scan in subject.bench.unseen[:2]]

    def tune(config: dict[str, Any]) -> dict[str, Any]:
        score: Any = SmoothedScore.of(config).score
        return dict(score.tune(detector.model, iter(volumes), detector.runner))

    for config in _tuned(subject):
        free = config | _automatic(lookup("scores", config["name"]))
        if "restore" in free:
            free["restore"] = free["restore"] | _automatic(lookup("restore", free["restore"]["name"]))
        found = tune(free)
        _that("'auto'" not in str(free | found), f"'auto' is left in {free | found}")
        _that(tune(free) == found, "another answer the second time")
        _that(tune(free | found).items() <= found.items(), "changes what was set")


def _automatic(component: type[Any]) -> dict[str, str]:
    """Options of a score or restoration that can be found, all to be found."""
    return {key: "auto" for key, (kind, _) in accepted(component).items() if "'auto'" in str(kind)}


def _tuned(subject: Subject) -> list[dict[str, Any]]:
    """The scores of the method, of the map and of the case, that have settings to find, be it by
    their restoration.
    """

    def tunes(config: dict[str, Any]) -> bool:
        score, restore = lookup("scores", config["name"]), config.get("restore")
        if restore is not None:
            return hasattr(lookup("restore", restore["name"]), "tune")
        return hasattr(score, "tune") and not hasattr(score, "RESTORE")

    asked = [subject.method.score, subject.method.case.get("score")]
    return [config for config in asked if config and tunes(config)]


APPLIES: dict[Callable[[Subject], None], Callable[[Subject], bool]] = {
    unfitted: lambda subject: issubclass(subject.model, Fits | FitsSamples | FitsDensity),
    other_dimensions: lambda subject: "dims" in accepted(subject.model),
    tuning_is_idempotent: lambda subject: bool(_tuned(subject)),
}
"""Checks that are of some methods only."""

LEARNT = (lesion_is_local, lesion_changes_its_slices, case_score_rises)
"""Checks of what a training has to bring about; the others hold of any weights."""

ALL: tuple[Callable[[Subject], None], ...] = (
    same_seed_same_map, saved_is_loaded, map_on_the_scans_grid, orientation, batch_size, batch_size_exact,
    degenerate_scans, lesion_is_local, lesion_changes_its_slices, case_score_rises, unfitted,
    use_changes_nothing, arguments_round_trip, two_channels, other_dimensions, tuning_is_idempotent,
)  # fmt: skip


def _that(holds: Any, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def _alive(values: NDArray[np.float32], title: str = "map") -> None:
    """Finite, not negative and not zero everywhere: a comparison of nothing with nothing would
    always hold.
    """
    _that(np.isfinite(values).all(), f"{title}: NaN or Inf")
    _that((values >= 0).all(), f"{title}: negative")
    _that(values.max() > 0, f"{title}: zero everywhere")


def _on_grid(values: NDArray[np.float32], scan: Volume) -> None:
    _that(values.shape == scan.shape, f"a map of shape {values.shape}, scan {scan.shape}")
    _alive(values)


def _close(found: NDArray[np.float32], expected: NDArray[np.float32], share: float) -> None:
    """Equal but for a share of the expected map's own greatest value."""
    _alive(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=share * float(expected.max()))


@contextmanager
def _refused(kind: type[Exception], message: str) -> Iterator[None]:
    """Expect an error of a kind whose text matches."""
    try:
        yield
    except kind as error:
        _that(re.search(message, str(error)), f"refused, but without '{message}': {error}")
    else:
        raise AssertionError(f"not refused; expected {kind.__name__} with '{message}'")
