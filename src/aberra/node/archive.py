"""An archive that speaks DICOMweb (DICOM PS3.18): searched, read and written to."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aberra import extras
from aberra.errors import InputError, NetworkError, OutputError
from aberra.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from types import ModuleType

    from aberra.errors import AberraError

TAGS = {
    "series": "0020000E",
    "study": "0020000D",
    "modality": "00080060",
    "body_part": "00180015",
    "description": "0008103E",
    "count": "00201209",
}
"""What is asked of a series, and its tag."""

WAIT = (10, 300)
"""Seconds for a connection, and for an answer."""

AWAY = {401, 403, 408, 429, 502, 503, 504}
"""HTTP answers that concern every series: no permission, or nobody behind the door."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A series that somebody has.

    Attributes:
        series: its identifier.
        study: its study's.
        count: number of its instances.
        modality: as ``MR``.
        body_part: as ``BRAIN``; empty where nobody says.
        description: for people.
    """

    series: str
    study: str
    count: int
    modality: str = ""
    body_part: str = ""
    description: str = ""

    def __str__(self) -> str:
        """For the log; without anything that names a person."""
        return f"'{self.description or 'series'}' ({self.modality}, {self.count} instances, …{self.series[-12:]})"


def library(name: str) -> ModuleType:
    """A library that only the node needs.

    Raises:
        ConfigError: it is not installed.
    """
    return extras.library(name, needed_by="`aberra node`", extra="dicom")


class Archive:
    """A DICOMweb server.

    A name and password are taken from ``~/.netrc``.

    Args:
        url: its root, as in ``http://pacs:8042/dicom-web``.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        with self._asked("reached"):
            self._client: Any = library("dicomweb_client").DICOMwebClient(url, timeout=WAIT)
        self._client.set_http_retry_params(retry=False)  # the node has its own patience

    def series(self, since: str = "") -> list[Listed]:
        """List the series of all studies from a date on (``YYYYMMDD``), or of all.

        Raises:
            NetworkError: no answer, or not what was asked.
        """
        filters = {"StudyDate": f"{since}-"} if since else {}
        return [found for each in self._search(filters) if (found := _listed(each)) is not None]

    def look(self, study: str, series: str) -> Listed | None:
        """List one series; None where the archive does not have it.

        Raises:
            NetworkError: as above.
        """
        found = map(_listed, self._search({"SeriesInstanceUID": series}, study))
        return next((each for each in found if each is not None and each.series == series), None)

    def _search(self, filters: Mapping[str, str], study: str | None = None) -> list[Any]:
        with self._asked("searched"):
            found = self._client.search_for_series(
                study, search_filters=dict(filters), fields=list(TAGS.values()), get_remaining=True
            )
        return list(found)

    def instances(self, study: str, series: str) -> set[str]:
        """Identifiers of the instances of a series; none where the archive does not have it.

        Raises:
            NetworkError: as above.
            InputError: the archive does not say.
        """
        with self._asked("searched", InputError):
            found = self._client.search_for_instances(study, series, get_remaining=True)
        return {_value(each, "00080018") for each in found}

    def fetch(self, listed: Listed, folder: Path) -> int:
        """Write a series' instances to a folder, whole or not at all, as the archive keeps them.

        Returns:
            Their number.

        Raises:
            NetworkError: as above.
            InputError: the archive does not give this series.
            OutputError: the folder cannot be written.
        """
        number = 0
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            with self._asked("read", InputError):
                for number, instance in enumerate(self._instances_of(listed), start=1):
                    instance.save_as(temporary / f"{number:06}.dcm", enforce_file_format=True)
        return number

    def _instances_of(self, listed: Listed) -> Iterator[Any]:
        kinds = (("application/dicom", "*"),)
        yield from self._client.iter_series(listed.study, listed.series, media_types=kinds)

    def store(self, files: Iterable[Path]) -> None:
        """Send files, one a request.

        Raises:
            NetworkError: as above.
            OutputError: the archive does not take one.
        """
        from pydicom import dcmread

        for file in files:
            with self._asked("written to", OutputError):
                answer = self._client.store_instances([dcmread(file)])
            if refused := answer.get("FailedSOPSequence"):
                reason = refused[0].get("FailureReason", "no reason given")
                raise OutputError(f"{self.url}: does not take {file.name} (failure reason {reason})")

    @contextmanager
    def _asked(self, what: str, refusal: type[AberraError] = NetworkError) -> Iterator[None]:
        """Turn what goes wrong on the way into an error that names the archive.

        Args:
            what: could not be done.
            refusal: what it is where the archive answers, but with a refusal of this one series.
        """
        from requests.exceptions import HTTPError, RequestException

        try:
            yield
        except (RequestException, ValueError, KeyError) as error:  # an answer may be anything
            told = " ".join(str(error).split())[:200]
            code = (
                error.response.status_code
                if isinstance(error, HTTPError) and error.response is not None
                else 0
            )
            kind = refusal if code and code not in AWAY else NetworkError
            raise kind(f"{self.url}: cannot be {what} ({told})") from error


def _listed(found: Mapping[str, Any]) -> Listed | None:
    """A series of an archive's answer; None where it lacks what tells it."""
    values = {name: _value(found, tag) for name, tag in TAGS.items()}
    if not (values["series"] and values["study"]):
        return None
    count = 0
    with suppress(ValueError):
        count = int(values.pop("count") or 0)
    return Listed(count=count, **{name: value for name, value in values.items() if name != "count"})


def _value(found: Mapping[str, Any], tag: str) -> str:
    """The first value of an attribute in DICOM JSON, as text."""
    values = found.get(tag, {}).get("Value") or [""]
    return os.fspath(values[0]) if isinstance(values[0], str) else str(values[0])
