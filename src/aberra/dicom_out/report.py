"""The numbers of a result as a structured report, TID 1500 (DICOM PS3.16)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aberra import __version__
from aberra.dicom_out.source import MAKER, Source, about, finish, highdicom, identity, plain, uid

if TYPE_CHECKING:
    from aberra.result import Component, Result

SCHEME = "99ABERRA"
"""Of what no public scheme of codes has."""

P_VALUE = ("p-value", "Conformal p-value of the case")
PLACES = (
    ("centre-left", "Centre, mm towards the patient's left"),
    ("centre-posterior", "Centre, mm towards the patient's back"),
    ("centre-superior", "Centre, mm towards the patient's head"),
)

RESEARCH = "Research use only; not a medical device. A high score says: unlike the healthy scans that the detector has seen."


def report(result: Result, source: Source, segmentation: Any) -> Any:
    """Write a group of measurements for the case and one for each finding, which refers to its
    segment.

    Args:
        result: the case.
        source: its series.
        segmentation: what :func:`aberra.dicom_out.images.regions` has written.
    """
    hd = highdicom()
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from pydicom.sr.codedict import codes

    own = identity(result, source)
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=uid(result.model.get("fingerprint", "")),
            name=plain(f"{MAKER} {result.model.get('name', '')}"),
            manufacturer_name=MAKER,
            model_name=plain(result.model.get("method", "")) or None,
        ),
    )
    groups = [_of_case(result, own)]
    groups += [
        _of_finding(result, component, number, own, segmentation)
        for number, component in enumerate(result.components, start=1)
    ]
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    for note in (RESEARCH, *result.warnings):
        content[0].ContentSequence.append(
            hd.sr.TextContentItem(
                name=codes.DCM.Comment,
                value=plain(note, 1024),
                relationship_type=hd.sr.RelationshipTypeValues.CONTAINS,
            )
        )
    scheme = CodingSchemeIdentificationItem(designator=SCHEME, name="aberra", version="1")
    made = hd.sr.Comprehensive3DSR(
        evidence=[*source.images, segmentation],
        content=content[0],
        is_complete=True,
        coding_schemes=[scheme],
        **about(result, source, "report", 4),
    )
    return finish(made, source)


def _of_case(result: Result, own: str) -> Any:
    """Score, p-value and number of findings of the whole scan."""
    hd = highdicom()
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=uid(own, "case"), identifier="case"),
        finding_type=_abnormal(),
        algorithm_id=_algorithm(result),
        measurements=[
            _score(result.score),
            *_p_value(result),
            _measured(_code("findings", "Number of findings"), len(result.components)),
        ],
    )


def _of_finding(result: Result, component: Component, number: int, own: str, segmentation: Any) -> Any:
    """Volume, place and scores of one region."""
    from pydicom.sr.codedict import codes

    hd = highdicom()
    right, front, up = component.centre_mm
    centre = [
        _measured(_code(*name), value, codes.UCUM.Millimeter)
        for name, value in zip(PLACES, (-right, -front, up), strict=True)
    ]
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=uid(own, "finding", number), identifier=f"finding {number}"
        ),
        referenced_segment=_segment(segmentation, number),
        finding_type=_abnormal(),
        algorithm_id=_algorithm(result),
        measurements=[
            _measured(codes.SCT.Volume, component.volume_mm3, codes.UCUM.CubicMillimeter),
            *centre,
            _score(component.peak, codes.SCT.Maximum),
            _score(component.mean, codes.SCT.Mean),
            *_p_value(result),
        ],
    )


def _segment(segmentation: Any, number: int) -> Any:
    """A reference to a segment and the series that it is of.

    Highdicom's own (``from_segmentation``) asks every frame for its segment, which an object of a
    single frame does not say there.
    """
    hd = highdicom()
    series = segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID
    return hd.sr.ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=number,
        source_series=hd.sr.SourceSeriesForSegmentation(series),
    )


def _score(value: float, derivation: Any = None) -> Any:
    from pydicom.sr.codedict import codes

    return _measured(codes.SCT.Score, value, derivation=derivation)


def _p_value(result: Result) -> list[Any]:
    """The case's p-value, if it has one."""
    return [] if result.p is None else [_measured(_code(*P_VALUE), result.p)]


def _measured(name: Any, value: float, unit: Any = None, derivation: Any = None) -> Any:
    from pydicom.sr.codedict import codes

    return highdicom().sr.Measurement(
        name=name, value=value, unit=unit or codes.UCUM.NoUnits, derivation=derivation
    )


def _abnormal() -> Any:
    from pydicom.sr.codedict import codes

    return codes.SCT.MorphologicallyAbnormalStructure


def _code(value: str, meaning: str) -> Any:
    return highdicom().sr.CodedConcept(value, SCHEME, meaning)


def _algorithm(result: Result) -> Any:
    return highdicom().sr.AlgorithmIdentification(
        name=plain(f"{MAKER} {result.model.get('name', '')}"), version=__version__
    )
