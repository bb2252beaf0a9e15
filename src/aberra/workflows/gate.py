"""A second detector that says whether the first one's answer about a scan can be relied on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aberra.errors import CalibrationError, ConfigError
from aberra.options import Between, conforming

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aberra.cohort import Case
    from aberra.detector import Detector
    from aberra.result import Result

LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Lets a result pass where a second detector takes the scan for one like those it has learnt
    from.

    Heer 2021 (ETH Zurich) proposes it and does not build it: model A looks for lesions, model B has
    learnt from mixed domains and says when a scan is of none of them, so that A's map is of the
    scanner and not of a lesion. Where B's conformal p-value is at most the level, the result is not
    trusted: a healthy scan like B's calibration cases comes to that at most so often. Map and mask
    stay as they are; nothing is hidden.

    B is best blind to lesions and sensitive to shifts (``waic``, ``vae-dose``), and calibrated on
    healthy cases of all the domains in which A may be believed.

    Args:
        detector: B, calibrated.
        level: greatest p-value at which the gate is shut.

    Raises:
        CalibrationError: B has no healthy case scores, or too few to reach the level.
        ConfigError: a level outside (0, 1).

    Deviation: the thesis gates by the dimensions of B's code that differ between domains; here it
    is B's case score, whichever that is, and its p-value.

    Examples:
        >>> from aberra import Detector
        >>> from aberra.workflows.gate import Gate
        >>> gate = Gate(detector=Detector.load("flair"), level=0.1)
        >>> gate.identity["level"]
        0.1
    """

    detector: Detector
    level: float = LEVEL

    def __post_init__(self) -> None:
        expect_reached(
            self.detector,
            self.level,
            of="gate",
            so="the gate could never shut",
            unscored="has no healthy case scores, so it cannot gate; run `aberra calibrate` with healthy cases",
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What a gated result depends on besides the first detector."""
        calibration = self.detector.calibration.to_json() if self.detector.calibration else None
        return {
            "fingerprint": self.detector.identity["fingerprint"], "calibration": calibration, "level": self.level
        }  # fmt: skip

    def asked(self, result: Result, case: Case, channels: Sequence[str] | None = None) -> Result:
        """The result with the gate's answer in ``result.gate``, and a warning where it is shut."""
        calibration = self.detector.calibration
        assert calibration is not None  # noqa: S101 - refused above
        by = calibration.group_by
        score = self.detector.analyse(self.detector.read(case, channels)).score
        p = calibration.p_value(score, case.group(by) if by else None)
        assert p is not None  # noqa: S101 - there are scores
        trusted = p > self.level
        told = {
            "model": self.detector.identity["name"], "score": score, "p": p, "level": self.level,
            "trusted": trusted,
        }  # fmt: skip
        shut = f"not trusted: to {told['model']} the scan is unlike what it has learnt (p = {p:.3f}), so the map may show the scanner and not a lesion"
        return replace(result, gate=told, warnings=[*result.warnings, *([] if trusted else [shut])])


def expect_reached(detector: Detector, level: float, *, of: str, so: str, unscored: str = "") -> None:
    """Refuse a level that the p-values of a detector can never be as low as.

    Args:
        detector: whose healthy cases give the p-values.
        level: in (0, 1).
        of: what the level is of: the option is ``--OF-level``.
        so: what follows from one that is not reached.
        unscored: said where there are no healthy cases at all; without, as of too few.

    Raises:
        CalibrationError: it has no healthy case scores, or too few.
        ConfigError: a level outside (0, 1).
    """
    try:
        conforming(level, Between, f"{of} level", LEVEL)
    except ConfigError as error:
        raise ConfigError(f"--{of}-level: {error}") from error
    count = len(detector.calibration.scores) if detector.calibration else 0
    name = detector.folder or detector.method.name
    if unscored and not count:
        raise CalibrationError(f"{name}: {unscored}")
    if 1 / (count + 1) > level:
        raise CalibrationError(
            f"{name}: {count} healthy cases give no p-value below {1 / (count + 1):.3f}, so {so} at {level:g}; "
            f"calibrate with more, or raise --{of}-level"
        )
