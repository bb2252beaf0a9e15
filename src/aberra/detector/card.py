"""The model card that lies beside every detector's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aberra.measured import in_words, measured
from aberra.versions import versions

if TYPE_CHECKING:
    from aberra.detector import Detector


def card(detector: Detector) -> str:
    """Describe a detector in Markdown: what it learnt, from what, how, and what it is not for."""
    method, facts, calibration = detector.method, detector.facts, detector.calibration
    size = "×".join(map(str, detector.size))
    parameters = sum(weight.numel() for weight in detector.model.parameters())
    lines = [
        f"# {detector.folder.name if detector.folder else method.name}",
        "",
        f"{method.title}. {method.summary}",
        "",
        f"- **Method**: `{method.name}` ({method.reference})",
        f"- **Reads**: {', '.join(detector.channels)}, as {detector.dims}-D input of {size}",
        f"- **Parameters**: {parameters:,}",
        *(f"- **Deviation**: {deviation}" for deviation in method.deviations),
        *(f"- **Measured, the method of the catalogue**: {in_words(row)}" for row in measured(method.name)),
        *(
            f"- **{key.replace('_', ' ').capitalize()}**: {value}"
            for key, value in facts.items()
            if not isinstance(value, list | dict)
        ),
        f"- **Versions**: {', '.join(f'{name} {number}' for name, number in versions().items())}",
        "",
        "## Calibration",
        "",
    ]
    if calibration is None:
        lines.append("Not calibrated.")
    else:
        lines += [f"{calibration.n_cases} healthy cases, {calibration.n_voxels:,} voxels.", ""]
        lines += ["| protocol | threshold |", "|---|---|"]
        lines += [f"| {name} | {value:.5g} |" for name, value in calibration.thresholds.items()]
        lines += ["", *(f"- {note}" for note in calibration.notes)]
    lines += [
        "",
        "## Intended use",
        "",
        "Research on scans like those it learnt from. Not a medical device; a low score does not mean a healthy scan.",
        f"Known failure: {method.failure}" if method.failure else "",
    ]
    return "\n".join(lines).rstrip() + "\n"
