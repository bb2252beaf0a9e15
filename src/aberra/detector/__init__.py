"""A detector: its parts, what it makes of a scan, and the folder it is saved in."""

from aberra.detector.detector import Analysis, Detector
from aberra.detector.question import Question

__all__ = ["Analysis", "Detector", "Question"]
