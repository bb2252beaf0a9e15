"""Series to send, an archive in memory, and Debian's Orthanc on the loopback."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
from pydicom import dcmread, dcmwrite

import dicom_series
from aberra.errors import NetworkError, OutputError
from aberra.files import atomic_path
from aberra.node.archive import Listed

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ORTHANC = shutil.which("Orthanc") if PLUGIN.exists() else None

GRID = np.array([[0, 0, -2.0, 20], [0, -2.0, 0, 20], [2.0, 0, 0, 0], [0, 0, 0, 1]])


def study(number=1, *, seed=0, **changes):
    """The slices of a small MR series of a person, as datasets."""
    data = np.zeros((6, 20, 20))
    data[1:5, 3:17, 3:17] = 100 + 10 * np.random.default_rng(seed).random((4, 14, 14))
    told = {
        "StudyInstanceUID": f"1.2.826.0.1.99.{number}",
        "FrameOfReferenceUID": f"1.2.826.0.1.99.{number}.9",
        "PatientName": "Doe^Jane",
        "PatientID": "p1",
        "StudyDate": "20260102",
        "SeriesDescription": "AX FLAIR",
        "SeriesNumber": number,
    }
    return dicom_series.slices(data, GRID, **(told | changes))


def content(dataset):
    """A dataset as a file."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


class Memory:
    """An archive that can be down, or go down after some writes."""

    url = "memory"

    def __init__(self):
        self.held, self.stored, self.down, self.writes, self.unwanted = {}, [], False, None, set()

    def put(self, datasets):
        for each in datasets:
            key = str(each.StudyInstanceUID), str(each.SeriesInstanceUID)
            self.held.setdefault(key, {})[str(each.SOPInstanceUID)] = each

    def _up(self):
        if self.down:
            raise NetworkError("memory: cannot be reached")

    def series(self, since=""):
        self._up()
        del since  # everything is new
        return [self.look(*key) for key in list(self.held)]

    def look(self, study, series):
        self._up()
        instances = self.held.get((study, series))
        if not instances:
            return None
        first = next(iter(instances.values()))
        names = {"modality": "Modality", "body_part": "BodyPartExamined", "description": "SeriesDescription"}
        facts = {name: str(first.get(keyword) or "") for name, keyword in names.items()}
        return Listed(series=series, study=study, count=len(instances), **facts)

    def instances(self, study, series):
        self._up()
        return set(self.held.get((study, series), {}))

    def fetch(self, listed, folder):
        self._up()
        with atomic_path(folder) as temporary:
            dicom_series.write(list(self.held[listed.study, listed.series].values()), temporary)
        return len(self.held[listed.study, listed.series])

    def store(self, files):
        for file in files:
            self._up()
            if file.name in self.unwanted:
                raise OutputError(f"memory: does not take {file.name}")
            if self.writes == 0:
                self.down = True
                self._up()
            self.writes = None if self.writes is None else self.writes - 1
            self.put([dcmread(file)])
            self.stored.append(file.name)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def send(port, datasets):
    """C-STORE; returns the status of each."""
    import pynetdicom

    entity = pynetdicom.AE()
    entity.add_requested_context(datasets[0].SOPClassUID, "1.2.840.10008.1.2.1")
    association = entity.associate("127.0.0.1", port)
    assert association.is_established
    for each in datasets:
        each.file_meta.MediaStorageSOPClassUID = each.SOPClassUID
        each.file_meta.MediaStorageSOPInstanceUID = each.SOPInstanceUID
    found = [association.send_c_store(each).Status for each in datasets]
    association.release()
    return found


class Orthanc:
    """Debian's Orthanc with its own storage, for as long as a test takes."""

    def __init__(self, folder):
        self.folder, self.port, self.process = folder, free_port(), None
        self.url = f"http://127.0.0.1:{self.port}/dicom-web"
        folder.mkdir()
        config = {
            "Name": "test", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
            "HttpPort": self.port, "DicomServerEnabled": False, "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False, "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(config))

    @contextmanager
    def running(self):
        with (self.folder / "log").open("ab") as log:
            command = [ORTHANC, str(self.folder / "orthanc.json")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        try:
            for _ in range(600):
                with suppress(URLError, OSError):
                    self.ask("/system")
                    break
                assert self.process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.2)
            yield self
        finally:
            self.process.terminate()
            self.process.wait(60)

    def ask(self, path, data=None):
        request = Request(f"http://127.0.0.1:{self.port}{path}", data=data)
        with urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def put(self, datasets):
        for each in datasets:
            self.ask("/instances", content(each))

    def series(self):
        """Modality and number of instances of every series, and their identifiers."""
        found = []
        for each in self.ask("/series"):
            about = self.ask(f"/series/{each}")
            tags = about["MainDicomTags"]
            found.append((tags["Modality"], len(about["Instances"]), tags["SeriesInstanceUID"]))
        return sorted(found)

    def modalities(self):
        return [modality for modality, _, _ in self.series()]

    def file(self, modality):
        """The instances of the series of a modality, as datasets."""
        found = []
        for series in self.ask("/series"):
            about = self.ask(f"/series/{series}")
            if about["MainDicomTags"]["Modality"] == modality:
                for instance in about["Instances"]:
                    url = f"http://127.0.0.1:{self.port}/instances/{instance}/file"
                    with urlopen(url, timeout=60) as answer:
                        found.append(dcmread(BytesIO(answer.read())))
        return found
