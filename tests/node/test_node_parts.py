"""State and receiver."""

from __future__ import annotations

import pytest

from aberra.errors import ConfigError, NetworkError
from aberra.node.archive import Archive, Listed, library
from aberra.node.receiver import Receiver
from aberra.node.state import State
from archives import free_port, send, study

pytest.importorskip("pynetdicom", reason="pip install 'aberra[dicom]'")


def listed(count=3, series="1.2"):
    return Listed(series=series, study="1", count=count, modality="MR")


@pytest.fixture
def state(tmp_path):
    found = State(tmp_path / "state.db")
    yield found
    found.close()


def test_a_series_is_ready_when_its_count_has_not_changed(state):
    assert state.see(listed(3), 10)
    assert not state.see(listed(3), 15)
    assert state.see(listed(4), 20)
    assert state.ready(24, 5) == []
    assert [each.listed for each in state.ready(25, 5)] == [listed(4)]


@pytest.mark.parametrize("status", ["done", "refused", "failed"])
def test_what_is_settled_waits_again_when_it_grows(state, status):
    state.see(listed(3), 10)
    state.settle("1.2", status, "why")
    assert state.ready(100, 5) == []
    assert not state.see(listed(3), 20)
    assert state.get("1.2").note == "why"
    assert state.see(listed(4), 30)
    assert len(state.ready(100, 5)) == 1


def test_own_series_never_wait(state):
    state.own(["1.2"])
    assert not state.see(listed(3), 10)
    assert not state.see(listed(4), 11)
    assert state.ready(100, 5) == []


def test_again_is_for_what_was_refused_or_has_failed(state):
    for number, status in enumerate(["done", "refused", "failed"]):
        state.see(listed(series=f"1.{number}"), 10)
        state.settle(f"1.{number}", status, "")
    assert state.again() == 2
    assert {each.listed.series for each in state.ready(100, 5)} == {"1.1", "1.2"}


def test_what_is_known_survives(tmp_path):
    first = State(tmp_path / "state.db")
    first.see(listed(), 10)
    first.begin("1.2")
    first.close()
    second = State(tmp_path / "state.db")
    assert second.get("1.2").begun == 1
    second.close()


def test_what_is_sent_is_kept_a_file_an_instance(tmp_path):
    receiver, port, datasets = Receiver(tmp_path / "incoming"), free_port(), study()
    with receiver.listening("127.0.0.1", port, "ABERRA"):
        assert send(port, datasets[:4]) == [0] * 4
        assert [each.count for each in receiver.series()] == [4]
        assert send(port, datasets) == [0] * 6  # four of them again
    found = receiver.look(str(datasets[0].SeriesInstanceUID))
    assert (found.count, found.modality, found.description) == (6, "MR", "AX FLAIR")
    again = Receiver(tmp_path / "incoming")
    assert again.series() == [found]


def test_an_identifier_that_is_a_path_is_refused(tmp_path):
    receiver, port = Receiver(tmp_path / "incoming"), free_port()
    datasets = study()
    datasets[0]["SeriesInstanceUID"]._value = "../../x"  # which pydicom would not set
    with receiver.listening("127.0.0.1", port, "ABERRA"):
        assert send(port, datasets[:1]) == [0xC000]
    assert not (tmp_path / "x").exists()


def test_a_port_that_is_taken_is_told(tmp_path):
    receiver, port = Receiver(tmp_path / "incoming"), free_port()
    with (
        receiver.listening("127.0.0.1", port, "A"),
        pytest.raises(NetworkError, match="choose another --port"),
        receiver.listening("127.0.0.1", port, "B"),
    ):
        pass


def test_a_title_that_is_none_is_told(tmp_path):
    receiver = Receiver(tmp_path / "incoming")
    with (
        pytest.raises(ConfigError, match="--aet"),
        receiver.listening("127.0.0.1", 1, "MUCH TOO LONG A TITLE"),
    ):
        pass


def test_an_archive_that_does_not_answer_is_told_by_its_address():
    url = f"http://127.0.0.1:{free_port()}/dicom-web"
    with pytest.raises(NetworkError, match=url):
        Archive(url).series()


def test_a_missing_library_says_how_to_get_it():
    with pytest.raises(ConfigError, match=r"no-such-thing; pip install 'aberra\[dicom\]'"):
        library("no_such_thing.inner")
