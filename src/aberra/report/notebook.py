"""What a notebook shows of a scan and of a result: the report's pictures, and the numbers under
them.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from aberra.report.page import input_of
from aberra.report.panels import case_picture, scan_picture

if TYPE_CHECKING:
    from aberra.result import Result
    from aberra.volume import Volume


def volume_html(volume: Volume) -> str:
    """A scan's first channel in three planes through its middle, its masks outlined."""
    spacing = " × ".join(f"{step:.3g}" for step in volume.spacing)
    told = [
        f"{', '.join(volume.channels)}: {' × '.join(map(str, volume.shape))} voxels of {spacing} mm, {volume.orientation}",
        *volume.provenance.get("warnings", []),
    ]
    return _html(*scan_picture(volume), told)


def result_html(result: Result) -> str:
    """A result as the report has it; the input is read again."""
    scan, problem = input_of(result)
    p = "" if result.p is None else f", p = {result.p:.3g} among {len(result.healthy_scores)} healthy cases"
    told = [
        f"{result.case}: score {result.score:.4g}{p}; {len(result.components)} region(s) at {result.threshold.get('protocol', '')}",
        *result.warnings,
        *[problem] * bool(problem),
    ]
    return _html(*case_picture(result, scan, None), told)


def _html(picture: str, alternative: str, told: list[str]) -> str:
    lines = "".join(f"<div>{escape(line)}</div>" for line in told)
    return f'<div><img src="{picture}" alt="{escape(alternative)}" style="max-width: 100%">{lines}</div>'
