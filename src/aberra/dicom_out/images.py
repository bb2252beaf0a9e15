"""Segmentations and the parametric map of a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aberra import __version__
from aberra.dicom_out.source import MAKER, Source, about, finish, highdicom, identity, plain, uid
from aberra.foreground import EVERYWHERE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aberra.result import Result

LEVELS = 255
"""Steps of the fractional segmentation above 0."""


def regions(result: Result, source: Source) -> Any:
    """Write the mask as a binary segmentation, a segment a finding in the order of
    ``result.components``.

    Without a finding it has one segment, which is empty.
    """
    hd = highdicom()
    labels = region_labels(result)
    count = len(result.components)
    names = [f"finding {number}" for number in range(1, count + 1)] or ["no finding"]
    own = identity(result, source)
    protocol, value = result.threshold["protocol"], result.threshold["value"]
    segments = [
        _segment(
            number, name, result, uid(own, "finding", number), f"anomaly map above {value:.6g} ({protocol})"
        )
        for number, name in enumerate(names, start=1)
    ]
    made = hd.seg.Segmentation(
        source_images=source.images,
        pixel_array=source.framed(labels),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        omit_empty_frames=count > 0,
        content_label="ANOMALIES",
        content_description=plain(f"{count} region(s) above the threshold"),
        **about(result, source, "regions", 1),
    )
    return finish(made, source)


def region_labels(result: Result) -> NDArray[np.uint16]:
    """The number of each voxel's finding, from 1 in the order of ``result.components``, 0
    elsewhere, shape (D, H, W).
    """
    from scipy.ndimage import label

    found, count = label(result.mask, structure=EVERYWHERE)
    numbers = np.zeros(count + 1, np.uint16)
    for number, component in enumerate(result.components, start=1):
        numbers[found[component.centre_index]] = number
    numbered: NDArray[np.uint16] = numbers[found]
    return numbered


def fraction(result: Result) -> tuple[NDArray[np.float32], str]:
    """The map as numbers from 0 to 1, shape (D, H, W), and the rule in words; the rule is monotone.

    A probability is itself. Other maps are divided by the upper end of the colour scale, which
    healthy scans give, and cut at 1.
    """
    low, high = result.scale["low"], result.scale["high"]
    values = result.map.data[0]
    if (low, high) == (0.0, 1.0):
        return np.clip(values, 0, 1), "probability of an anomaly"
    top = high if high > 0 else 1.0
    return np.clip(
        values / np.float32(top), 0, 1
    ), f"anomaly map / {top:.6g}, cut at 1; not a calibrated probability"


def likelihood(result: Result, source: Source) -> Any:
    """Write the map as a fractional segmentation by the rule of :func:`fraction`."""
    hd = highdicom()
    values, rule = fraction(result)
    own = identity(result, source)
    text = f"{rule}; stored as round({LEVELS} x)"
    made = hd.seg.Segmentation(
        source_images=source.images,
        pixel_array=source.framed(values),
        segmentation_type=hd.seg.SegmentationTypeValues.FRACTIONAL,
        fractional_type=hd.seg.SegmentationFractionalTypeValues.PROBABILITY,
        max_fractional_value=LEVELS,
        segment_descriptions=[_segment(1, "anomaly", result, uid(own, "likelihood"), text)],
        omit_empty_frames=bool(values.any()),
        content_label="ANOMALY_MAP",
        content_description=plain(rule),
        **about(result, source, "likelihood", 2),
    )
    return finish(made, source)


def parametric_map(result: Result, source: Source) -> Any:
    """Write the map as it is, 32-bit floating point."""
    from pydicom.sr.codedict import codes

    hd = highdicom()
    values = result.map.data[0]
    low, high = result.scale["low"], result.scale["high"]
    window = hd.VOILUTTransformation(
        window_center=(low + high) / 2, window_width=max(high - low, 1e-6), window_explanation="healthy scale"
    )
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="anomaly",
        lut_explanation="anomaly map, higher is more unlike healthy scans"[:64],
        unit=codes.UCUM.NoUnits,
        value_range=(min(float(values.min()), 0.0), float(values.max())),
        slope=1.0,
        intercept=0.0,
    )
    shown = source.header.text("RecognizableVisualFeatures") != "NO"
    made = hd.pm.ParametricMap(
        source_images=source.images,
        pixel_array=source.framed(values.astype(np.float32)),
        contains_recognizable_visual_features=shown,  # unless the scan has none
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[window],
        content_label="ANOMALY_MAP",
        content_description=plain(f"anomaly map of {result.model.get('name', MAKER)}"),
        **about(result, source, "map", 3),
    )
    return finish(made, source)


def _segment(number: int, label: str, result: Result, tracking: str, text: str) -> Any:
    """Describe a segment; what kind of abnormality it is nobody says."""
    from pydicom.sr.codedict import codes

    hd = highdicom()
    kind = codes.SCT.MorphologicallyAbnormalStructure
    segment = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=kind,
        segmented_property_type=kind,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=plain(f"{MAKER} {result.model.get('name', '')}".strip()),
            version=__version__,
            family=codes.DCM.ArtificialIntelligence,
        ),
        tracking_uid=tracking,
        tracking_id=label,
    )
    segment.SegmentDescription = plain(text, 1024)
    return segment
