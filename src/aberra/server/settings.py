"""What a server is told when it is started, and where its files lie."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aberra.errors import ConfigError
from aberra.output import claim
from aberra.sequence import AUTO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MB = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one upload may hold.

    Attributes:
        upload: bytes as sent.
        unpacked: bytes after unpacking.
        files: in a zip.
        depth: folders within folders of a zip.
        scans: in a zip.
    """

    upload: int = 1000 * MB
    unpacked: int = 4000 * MB
    files: int = 20_000
    depth: int = 12
    scans: int = 100


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A server's settings.

    Attributes:
        data: its folder.
        database: SQLAlchemy URL; empty for SQLite in the folder.
        detectors: name that readers choose by to what is loaded, a folder or a shipped name.
        limits: of an upload.
        trust_header: header in which a proxy names who has signed in; empty for passwords.
        trusted_proxies: addresses whose header counts.
        metrics_token: who has it may read the metrics without an account; empty for none.
        device: that workers compute on.
    """

    data: Path
    database: str = ""
    detectors: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    trust_header: str = ""
    trusted_proxies: tuple[str, ...] = ()
    metrics_token: str = ""
    device: str = "auto"

    @property
    def url(self) -> str:
        """Of the database."""
        return self.database or f"sqlite:///{self.data.absolute() / 'server.sqlite'}"

    @property
    def uploads(self) -> Path:
        """A folder an upload: ``files`` as they came, and the scans as the viewer shows them."""
        return self.data / "uploads"

    @property
    def results(self) -> Path:
        """A folder of results a case."""
        return self.data / "results"

    def claim(self) -> None:
        """Take the data folder, or go on in it.

        Raises:
            OutputError: it holds something else.
        """
        claim(self.data, "server")
        for folder in (self.uploads, self.results):
            folder.mkdir(exist_ok=True)

    def plain(self, message: str) -> str:
        """A message without the server's folders in it: files by their names."""
        for root in (str(self.data.absolute()), str(self.data)):
            message = re.sub(re.escape(root) + r"/(?:[^/\s:]+/)*", "", message)
        return message


def offered(folders: Sequence[Path]) -> dict[str, str]:
    """Detectors that readers may choose: those given by folder; without any, the shipped ones and
    the choice by sequence.

    Raises:
        ConfigError: two folders have one name.
        ModelError: a folder is no detector.
    """
    from aberra.detector.folder import resolve_model
    from aberra.pretrained import shipped_detectors

    if not folders:
        return {AUTO: AUTO} | {name: name for name in shipped_detectors()}
    found: dict[str, str] = {}
    for folder in folders:
        resolved = resolve_model(str(folder)).absolute()
        if resolved.name in found:
            raise ConfigError(
                f"--detector {folder}: there is a detector '{resolved.name}' already; rename the folder"
            )
        found[resolved.name] = str(resolved)
    return found
