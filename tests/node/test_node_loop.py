"""One node, one archive: nothing is lost, nothing is sent twice, nothing foreign is analysed."""

from __future__ import annotations

import pytest

import dicom_series
from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.errors import ConfigError, NetworkError, OutputError
from aberra.files import locked, read_json
from aberra.method import Method
from aberra.node.loop import Node
from aberra.node.state import State
from archives import Memory, study
from small_scans import cohort, detector, scan

pytest.importorskip("highdicom", reason="pip install 'aberra[dicom]'")

SENT = ["SEG", "SEG", "OT", "SR"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    detector("intensity", cohort(folder, split=True), folder / "A")
    return str(folder / "A")


class Setting:
    """A node with a clock of its own."""

    def __init__(self, folder, model, **options):
        self.archive, self.now, self.lines, self.folder = Memory(), 1000.0, [], folder
        self.options = {"detector": model, "quiet": 60, "days": 0, **options}

    def node(self):
        return Node(
            folder=self.folder, archive=self.archive, log=self.lines.append, clock=lambda: self.now, **self.options
        )  # fmt: skip

    def turn(self, seconds=100):
        """Look once, after some seconds."""
        self.now += seconds
        return self.node().run(once=True)

    def modalities(self):
        return [self.archive.look(*key).modality for key in self.archive.held]

    def status(self, datasets):
        state = State(self.folder / "state.db")
        found = state.get(str(datasets[0].SeriesInstanceUID))
        state.close()
        return found.status, found.note


@pytest.fixture
def setting(tmp_path, model):
    return Setting(tmp_path / "state", model)


def test_a_series_is_analysed_when_it_has_been_quiet_and_only_once(setting):
    setting.archive.put(study())
    setting.turn()
    assert setting.modalities() == ["MR"]  # seen now, not quiet yet
    setting.turn(30)
    assert setting.modalities() == ["MR"]
    setting.turn(31)
    assert sorted(setting.modalities()) == sorted(["MR", *SENT])
    assert len(setting.archive.stored) == 4
    setting.turn()
    assert len(setting.archive.stored) == 4
    assert any("sent: " in line and "finding(s)" in line for line in setting.lines)
    assert not [line for line in setting.lines if "Doe" in line]


def test_what_comes_again_is_the_same_and_what_grows_is_waited_for(setting):
    datasets = study()
    setting.archive.put(datasets[:4])
    setting.turn()
    setting.archive.put(datasets[4:])
    setting.turn(61)
    assert setting.modalities() == ["MR"]  # it changed just now
    setting.turn(61)
    assert len(setting.archive.stored) == 4
    setting.archive.put(datasets)
    setting.turn()
    setting.turn()
    assert len(setting.archive.stored) == 4


def test_half_a_series_waits_for_the_rest(setting):
    datasets = [dicom_series.change(each, ImagesInAcquisition=6) for each in study()]
    setting.archive.put(datasets[:4])
    setting.turn()
    setting.turn()
    assert setting.archive.stored == []
    status, note = setting.status(datasets)
    assert status == "refused"
    assert "half a series" in note
    setting.archive.put(datasets[4:])
    setting.turn()
    setting.turn()
    assert len(setting.archive.stored) == 4
    assert setting.status(datasets)[0] == "done"


def test_a_gap_in_the_middle_is_told_by_the_geometry(setting):
    datasets = study()
    setting.archive.put(datasets[:2] + datasets[3:])
    setting.options["gaps"] = True
    setting.turn()
    setting.turn()
    assert setting.archive.stored == []
    assert "slices are missing" in setting.status(datasets)[1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"Modality": "CT"}, "modality CT"), ({"BodyPartExamined": "KNEE"}, "body part KNEE")],
)
def test_what_is_not_for_this_node_is_refused_once_and_noted(setting, changes, reason):
    datasets = study(**changes)
    setting.archive.put(datasets)
    for _ in range(3):
        setting.turn()
    assert setting.archive.stored == []
    assert reason in setting.status(datasets)[1]
    assert len([line for line in setting.lines if "refused" in line]) == 1


def test_a_series_without_identifiers_is_refused_with_the_reason(setting):
    datasets = study(FrameOfReferenceUID="")
    setting.archive.put(datasets)
    setting.turn()
    setting.turn()
    assert "FrameOfReferenceUID" in setting.status(datasets)[1]


def test_own_series_are_not_analysed(setting, tmp_path, model):
    setting.options["modalities"] = ("MR", "SEG", "OT", "SR")
    setting.archive.put(study())
    for _ in range(4):
        setting.turn()
    assert len(setting.archive.stored) == 4
    other = Setting(tmp_path / "other", model, modalities=("MR", "SEG", "OT", "SR"))
    other.archive = setting.archive
    for key in [key for key in other.archive.held if other.archive.look(*key).modality == "MR"]:
        del other.archive.held[key]
    for _ in range(3):  # of another node, which has made none of them
        other.turn()
    assert len(other.archive.stored) == 4


def test_while_the_archive_is_down_nothing_is_lost(setting):
    setting.archive.put(study())
    setting.turn()
    setting.archive.down = True
    for _ in range(5):
        with pytest.raises(NetworkError):
            setting.turn()
    setting.archive.down = False
    setting.turn()
    assert len(setting.archive.stored) == 4


@pytest.mark.parametrize("writes", [0, 1, 3])
def test_what_was_sent_before_a_failure_is_not_sent_again(setting, writes):
    datasets = study()
    setting.archive.put(datasets)
    setting.turn()
    setting.archive.writes = writes
    with pytest.raises(NetworkError):
        setting.turn()
    assert len(setting.archive.stored) == writes
    setting.archive.down, setting.archive.writes = False, None
    setting.turn()
    assert sorted(setting.archive.stored) == ["likelihood.dcm", "map.dcm", "regions.dcm", "report.dcm"]
    assert setting.status(datasets)[0] == "done"


def test_an_archive_that_does_not_take_an_object_does_not_hold_up_the_others(setting):
    first, second = study(1), study(2)
    setting.archive.put([*first, *second])
    setting.archive.unwanted = {"map.dcm"}
    setting.turn()
    assert setting.turn() == 2
    assert "does not take map.dcm" in setting.status(first)[1]
    setting.archive.unwanted = set()
    setting.now += 1
    setting.node().run(once=True, again=True)
    assert setting.status(first)[0] == setting.status(second)[0] == "done"
    assert len(setting.archive.stored) == len(setting.archive.held) - 2 == 8


class Killed(BaseException):
    """Nothing is tidied up in its own way."""


def killed_behind(setting, where, monkeypatch):
    """A turn that ends behind one of its steps."""
    real = getattr(Node, where)

    def kill(self, *arguments, **options):
        real(self, *arguments, **options)
        raise Killed

    monkeypatch.setattr(Node, where, kill)
    with pytest.raises(Killed):
        setting.turn()
    monkeypatch.undo()


@pytest.mark.parametrize("where", ["_fetched", "_analysed", "_send", "_tidy"])
def test_killed_anywhere_the_next_run_goes_on(setting, where, monkeypatch):
    datasets = study()
    setting.archive.put(datasets)
    setting.turn()
    killed_behind(setting, where, monkeypatch)
    setting.turn()
    assert len(setting.archive.stored) == 4
    assert setting.status(datasets)[0] == "done"
    assert not list(setting.folder.rglob("*.dcm"))


def test_a_scan_that_kills_the_process_is_given_up(setting, monkeypatch):
    datasets = study()
    setting.archive.put(datasets)
    setting.turn()

    def kill(*_):
        raise Killed

    monkeypatch.setattr(Node, "_analysed", kill)
    for _ in range(3):
        with pytest.raises(Killed):
            setting.turn()
    assert setting.turn() == 1
    assert "never ended" in setting.status(datasets)[1]
    assert setting.turn() == 0
    monkeypatch.undo()
    setting.now += 1
    setting.node().run(once=True, again=True)
    assert len(setting.archive.stored) == 4


def test_scans_and_results_are_removed_when_they_are_sent_unless_they_are_to_be_kept(setting):
    setting.archive.put(study())
    setting.turn()
    setting.turn()
    assert not list((setting.folder / "work").rglob("*.dcm"))
    setting.options["keep"] = True
    setting.archive.put(study(2))
    setting.turn()
    setting.turn()
    assert {"map.dcm", "000000.dcm"} & {each.name for each in (setting.folder / "work").rglob("*.dcm")}


def test_two_nodes_do_not_share_a_folder(setting):
    setting.turn()
    with locked(setting.folder, wait=False), pytest.raises(OutputError, match="another node"):
        setting.turn()


def _of_several(folder, names):
    """A detector of scans of several channels, which are copies of one."""
    folder.mkdir()
    rows = [f"case,patient,label,split,{','.join(names)}"]
    for index in range(2):
        scan(index).write(folder / f"s{index}.nii.gz")
        rows.append(f"c{index},p{index},0,{'train' if index else 'val'}" + f",s{index}.nii.gz" * len(names))
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    method = Method.load("intensity", {"prepare.size": 16})
    Detector.fit(method, Cohort.read(folder / "manifest.csv"), out=folder / "B", channels=names, workers=1)
    return str(folder / "B")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return _of_several(tmp_path_factory.mktemp("pair") / "scans", ["flair", "t1"])


SAME = {"FrameOfReferenceUID": "1.2.826.0.1.99.9"}


@pytest.mark.parametrize("last", ["flair", "t1"])
def test_series_that_are_read_at_once_wait_for_each_other(tmp_path, pair, last):
    setting = Setting(tmp_path / "state", pair, keep=True)
    parts = {"flair": study(**SAME), "t1": study(SeriesDescription="AX T1 MPRAGE", **SAME)}
    early, late = parts.pop("t1" if last == "flair" else "flair"), parts[last]
    setting.archive.put(early)
    setting.turn()
    setting.turn()
    assert setting.archive.stored == []
    assert setting.status(early)[0] == "channel"
    assert f"waits for {last} of its study" in setting.status(early)[1]
    for _ in range(2):
        setting.turn()
    assert len([line for line in setting.lines if "waits for" in line]) == 1
    setting.archive.put(late)
    setting.turn()
    setting.turn()
    assert sorted(setting.modalities()) == sorted(["MR", "MR", *SENT]), setting.lines
    assert {setting.status(each)[0] for each in (early, late)} == {"done"}
    flair = late if last == "flair" else early
    (result,) = setting.folder.glob("work/*/results/*/result.json")
    assert result.parent.name == str(flair[0].SeriesInstanceUID)
    assert list(read_json(result)["paths"]) == ["flair", "t1"]
    setting.turn()
    assert len(setting.archive.stored) == 4


def test_a_channel_that_grows_is_read_again_with_the_others(tmp_path, pair):
    setting = Setting(tmp_path / "state", pair)
    flair, t1 = study(**SAME), study(SeriesDescription="T1w", **SAME)
    setting.archive.put(flair[:5] + t1[:5])
    setting.turn()
    setting.turn()
    assert len(setting.archive.stored) == 4
    assert not list(setting.folder.rglob("*.dcm"))
    setting.archive.put(flair + t1)
    setting.turn()
    setting.turn()
    assert len(setting.archive.stored) == 8
    assert {setting.status(each)[0] for each in (flair, t1)} == {"done"}


def test_of_other_sequences_other_studies_and_twins_nothing_is_made(tmp_path, pair):
    setting = Setting(tmp_path / "state", pair)
    flair, twin, other = study(**SAME), study(seed=2, **SAME), study(2, SeriesDescription="T1")
    t2 = study(seed=3, SeriesDescription="AX T2", **SAME)
    for each in (flair, twin, other, t2):
        setting.archive.put(each)
    setting.turn()
    setting.turn()
    assert setting.archive.stored == []
    assert sorted(setting.status(each)[0] for each in (flair, twin)) == ["channel", "refused"]
    assert setting.status(other)[1] == "t1: waits for flair of its study"
    assert "the detector reads flair, t1" in setting.status(t2)[1]
    assert any("another series of its study, which came first" in line for line in setting.lines)


def test_channels_on_different_voxels_fail_with_the_reason(tmp_path, pair):
    setting = Setting(tmp_path / "state", pair)
    setting.archive.put(study(**SAME))
    t1 = study(SeriesDescription="T1", **SAME)[:5]
    setting.archive.put(t1)
    setting.turn()
    assert setting.turn() == 1
    assert any("resample the channels onto one grid" in line for line in setting.lines)


@pytest.mark.parametrize("where", ["_fetched", "_gathered", "_analysed", "_send", "_tidy"])
def test_killed_anywhere_series_that_are_read_at_once_are_sent_once(tmp_path, pair, where, monkeypatch):
    setting = Setting(tmp_path / "state", pair)
    parts = [study(**SAME), study(SeriesDescription="T1", **SAME)]
    setting.archive.put(parts[0])
    setting.turn()
    setting.turn()
    setting.archive.put(parts[1])
    setting.turn()
    killed_behind(setting, where, monkeypatch)
    setting.turn()
    setting.turn()
    assert len(setting.archive.stored) == 4
    assert {setting.status(each)[0] for each in parts} == {"done"}
    assert not list(setting.folder.rglob("*.dcm"))


def test_channels_that_no_header_tells_are_refused_at_once(tmp_path):
    setting = Setting(tmp_path / "state", _of_several(tmp_path / "scans", ["flair", "adc"]))
    with pytest.raises(ConfigError, match="which series of a study is adc cannot be told"):
        setting.turn()
    assert not setting.folder.exists()
