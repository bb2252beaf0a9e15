"""What a graph takes and gives, and what is not inside it, for whoever runs it elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aberra.detector.windows import MARGIN
from aberra.exchange.graph import channels_of, multiple_of
from aberra.pretrained import shipped_detectors
from aberra.versions import versions

if TYPE_CHECKING:
    from aberra.detector import Detector
    from aberra.exchange.graph import Graph

SHIPPED_LICENCE = "Apache-2.0"
"""Of the weights that come with aberra."""


def described(detector: Detector, graph: Graph) -> dict[str, Any]:
    """All that a program must know of a graph, JSON-able: ``input``, ``output``, ``windows``,
    ``not_inside``, ``thresholds``, and where the weights are from.
    """
    method, calibration, multiple = detector.method, detector.calibration, multiple_of(detector)
    axes = ["batch", "channel", *"dhw"[3 - detector.dims :]]
    grid = {
        "orientation": _setting(detector, "to") or "SPL",
        "spacing_mm": _setting(detector, "spacing"),
        "size": list(detector.size),
        "any_multiple_of": multiple or None,
    }
    own = method.score if graph.gives == "reconstruction" else None
    return {
        "detector": {**detector.identity, "title": method.title, "reference": method.reference},
        "gives": graph.gives,
        "why_not_the_map": graph.why or None,
        "input": {
            "name": "image", "dtype": "float32", "axes": axes, "channels": list(channels_of(detector)), **grid,
        },
        "output": {
            "name": graph.gives, "dtype": "float32", "axes": axes,
            "channels": ["anomaly"] if graph.gives == "map" else list(channels_of(detector)),
            "means": _meaning(detector, graph),
        },
        "windows": _windows(detector.dims, multiple),
        "not_inside": {
            "prepare": detector.recipe.complete,
            "prepare_state": detector.recipe.state(),
            "score": own,
            "smooth": detector.question.score.smooth,
            "postprocess": vars(detector.question.postprocess),
            "case_score": vars(detector.question.case_score) | {"score": method.case.get("score")},
            "calibration": "p-values from the scores of healthy cases; `aberra detect` states them",
        },
        "thresholds": None
        if calibration is None or graph.gives != "map"
        else {"default": calibration.default, **calibration.thresholds},
        "learnt_from": detector.facts.get("data") or detector.facts.get("data_hash"),
        "licence": licence(detector),
        "use": "Research only, not a medical device.",
        "versions": versions(),
    }  # fmt: skip


def licence(detector: Detector) -> str:
    """SPDX name of the weights' licence; of a user's own, that its owner has to say."""
    if detector.folder in shipped_detectors().values():
        return SHIPPED_LICENCE
    return "not stated: whoever fitted the detector decides"


def gives_probability(detector: Detector) -> bool:
    """Whether the map is a probability."""
    return bool(getattr(detector.question.score.score, "probability", False))


def _setting(detector: Detector, option: str) -> Any:
    """What the last step of the preparation that has an option says of it."""
    told = [entry[option] for entry in detector.recipe.complete if entry.get(option) is not None]
    return told[-1] if told else None


def _meaning(detector: Detector, graph: Graph) -> str:
    if graph.gives == "reconstruction":
        return "the healthy version of the input, in prepared intensities"
    if gives_probability(detector):
        return "probability that a voxel is anomalous, 0 to 1; meaningless outside the mask"
    return "how unlike healthy a voxel is, 0 or more; meaningless outside the mask"


def _windows(dims: int, multiple: int) -> str:
    """How a prepared scan becomes what the graph takes."""
    if dims == 2:
        return (
            "each slice (d) of the prepared scan is a sample; a slice smaller than the size is padded with zeros "
            "on both sides, a larger one is cut into windows that overlap by half, blended with a raised cosine (of a "
            "reconstruction aberra puts the whole slice together first, and compares then; so only slices of the size are equal)"
        )
    if multiple:
        return (
            f"one patch: the box of the mask with {MARGIN} voxels around it, as far as the scan reaches, "
            f"padded with zeros at the upper ends to multiples of {multiple}"
        )
    return "patches of the size that overlap by half, blended with a raised cosine; a smaller scan is padded with zeros"
