"""A storage SCP: an archive, or a scanner, sends series to the node (DICOM PS3.4, B)."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aberra.errors import ConfigError, InputError, NetworkError
from aberra.files import atomic_path
from aberra.io.dicom.header import Header, parse
from aberra.node.archive import Listed, library
from aberra.output import claim

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUCCESS, CANNOT_STORE, NO_RESOURCES = 0x0000, 0xC000, 0xA700


class Receiver:
    """Keeps what it is sent, a folder a series; an instance that comes again replaces itself.

    Args:
        folder: of the series.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._facts: dict[str, Listed] = {}
        claim(folder, "node")

    @contextmanager
    def listening(self, host: str, port: int, title: str) -> Iterator[None]:
        """Take associations while the body runs.

        Raises:
            NetworkError: the port cannot be had.
            ConfigError: no title that DICOM knows.
        """
        network = library("pynetdicom")
        if not 0 < len(title.strip()) <= 16 or not title.isascii():
            raise ConfigError(
                f"'{title}': an application entity title has 1 to 16 letters; choose another --aet"
            )
        entity = network.AE(ae_title=title)
        entity.supported_contexts = network.AllStoragePresentationContexts
        for context in entity.supported_contexts:  # as it was compressed, nothing is decoded
            context.transfer_syntax = network.ALL_TRANSFER_SYNTAXES
        entity.add_supported_context("1.2.840.10008.1.1")  # C-ECHO
        handlers = [(network.evt.EVT_C_STORE, self._store)]
        try:
            server = entity.start_server((host, port), block=False, evt_handlers=handlers)
        except OSError as error:
            raise NetworkError(
                f"{host}:{port}: cannot listen ({error.strerror}); choose another --port"
            ) from error
        try:
            yield
        finally:
            server.shutdown()

    def _store(self, event: Any) -> int:
        """Keep one instance; success is only said when it is on the disk."""
        try:
            dataset = event.dataset
            series, instance = str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID)
        except Exception:  # noqa: BLE001 - whatever is sent
            return CANNOT_STORE
        if not _is_uid(series) or not _is_uid(instance):
            return CANNOT_STORE
        dataset.file_meta = event.file_meta
        place = self.folder / series
        try:
            claim(place, "node")
            with atomic_path(place / f"{instance}.dcm") as temporary:
                dataset.save_as(temporary, enforce_file_format=True)
                _to_disk(temporary)
            _to_disk(place)
        except Exception:  # noqa: BLE001 - the sender will try again
            return NO_RESOURCES
        return SUCCESS

    def series(self) -> list[Listed]:
        """List what is here."""
        found = (self.look(place.name) for place in sorted(self.folder.iterdir()) if _is_uid(place.name))
        return [each for each in found if each is not None]

    def look(self, series: str) -> Listed | None:
        """List one series; None where nothing of it is here."""
        place = self.folder / series
        files = sorted(place.glob("*.dcm"))
        if not files:
            return None
        if series not in self._facts:
            try:
                header = Header(parse(files[0], whole=False), files[0])
                self._facts[series] = Listed(
                    series=series,
                    study=header.text("StudyInstanceUID"),
                    count=0,
                    modality=header.text("Modality"),
                    body_part=header.text("BodyPartExamined"),
                    description=header.text("SeriesDescription"),
                )
            except InputError:
                return None
        facts = self._facts[series]
        return Listed(**{**facts.__dict__, "count": len(files)})


def _is_uid(text: str) -> bool:
    """Whether a text is an identifier, and so a name that a file can have."""
    return 0 < len(text) <= 64 and set(text) <= set("0123456789.") and text[0] != "."


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
