"""Networks of detectors as files that other programs run, each checked against the network itself."""

from aberra.exchange.export import Exported, Format, export

__all__ = ["Exported", "Format", "export"]
