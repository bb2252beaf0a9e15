"""What a run may touch: marked folders, and never what is read or what the user put there."""

from __future__ import annotations

import os
from contextlib import chdir
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, Phase, event, given, note, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from aberra.cli import app
from aberra.cohort import Cohort
from aberra.errors import AberraError, InputError, OutputError
from aberra.files import MARK, RECORD, read_mark, write_json
from aberra.output import check_held, check_names, claim, holds_output, kind_of, refuse_as_input
from small_scans import cohort, detector, dicom_bytes, scan, scan_bytes

# -- claims ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "the same"])
def test_what_can_be_claimed(there, tmp_path):
    out = tmp_path / "a" / "out"
    if there == "an empty folder":
        out.mkdir(parents=True)
    if there == "the same":
        claim(out, "results", identity="x", about={"model": "m"})
        (out / "mine").write_text("mine")
    claim(out, "results", identity="x", about={"model": "m"})
    assert kind_of(out) == "results"
    assert read_mark(out) == {"kind": "results", "identity": "x", "model": "m"}
    check_held(out, "x")


def _file(out):
    out.write_text("mine")


def _full(out):
    out.mkdir()
    (out / "mine").write_text("mine")


def _hidden(out):
    out.mkdir()
    (out / ".mine").write_text("mine")


def _damaged_mark(out):
    out.mkdir()
    (out / MARK).write_text('{"kind": "resu')


def _foreign_mark(out):
    out.mkdir()
    (out / MARK).write_text('["kind"]')


def _other_kind(out):
    claim(out, "cohort", identity="x")


def _other_identity(out):
    claim(out, "results", identity="y")


def _dangling(out):
    out.symlink_to(out.parent / "nowhere")


def _loop(out):
    out.symlink_to(out)


@pytest.mark.parametrize(
    "there",
    [_file, _full, _hidden, _damaged_mark, _foreign_mark, _other_kind, _other_identity, _dangling, _loop],
)
def test_what_cannot_be_claimed_stays_as_it_is(there, tmp_path):
    there(tmp_path / "out")
    before = _state(tmp_path)
    with pytest.raises(OutputError, match="out"):
        claim(tmp_path / "out", "results", identity="x", other="choose another --out")
    assert _state(tmp_path) == before


def test_a_folder_below_a_file_and_a_link_within_a_marked_folder_cannot_be_claimed(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="Not a directory"):
        claim(tmp_path / "file" / "out", "results")
    claim(tmp_path / "out", "results")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "evaluation").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(OutputError, match="not a folder"):
        claim(tmp_path / "out" / "evaluation", "evaluation")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_taking_over_is_asked_for_and_noticed(tmp_path):
    claim(tmp_path / "out", "cohort", identity="x")
    claim(tmp_path / "out", "cohort", identity="y", replace=True)
    check_held(tmp_path / "out", "y")
    with pytest.raises(OutputError, match="another run"):
        check_held(tmp_path / "out", "x")
    with pytest.raises(OutputError, match="a cohort"):
        claim(tmp_path / "out", "results", identity="y", replace=True)


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a", "evaluation"], "'evaluation' is a name of aberra"),
        (["Scores.CSV"], "'Scores.CSV'"),
        ([MARK], MARK),
        (["sub-01", "b", "SUB-01"], "'sub-01' and 'SUB-01'"),
        (["caf\u00e9", "cafe\u0301"], "one name"),
        (["a", "a"], "twice"),
        (["../a"], "no file name"),
        (["a/b"], "no file name"),
        ([".."], "no file name"),
        ([""], "no file name"),
    ],
)
def test_names_that_cases_cannot_have(names, said):
    with pytest.raises(OutputError, match=said):
        check_names(names, ("evaluation", "scores.csv"))
    check_names(["a", "b", "sub-01", "map.nii.gz"], ("evaluation",))


def test_a_search_leaves_out_what_aberra_wrote(tmp_path):
    data = tmp_path / "data"
    for name in ("s0", "deep/s1", "results/s0/map", "old/model/run/x", "phantoms/p0"):
        scan().write(data / f"{name}.nii.gz")
    claim(data / "results", "results", adopt=True)
    claim(data / "old" / "model", "detector", adopt=True)
    claim(data / "phantoms", "cohort", adopt=True)
    (data / "lone").mkdir()
    (data / "lone" / ".aberra.files").write_text('\n"edited.nii.gz"')
    scan().write(data / "lone" / "edited.nii.gz")
    assert {case.case for case in Cohort.from_paths(data)} == {"s0", "deep_s1", "phantoms_p0"}
    for folder in (data / "results", data / "old" / "model", data / "lone", data / "phantoms"):
        assert holds_output(folder) == (folder.name != "phantoms")
    assert len(Cohort.from_paths(data / "phantoms")) == 1
    for folder in (data / "results", data / "lone"):
        with pytest.raises(InputError, match="no scans"):
            Cohort.from_paths(folder)
    assert len(Cohort.from_paths(data / "results" / "s0" / "map.nii.gz")) == 1  # a single file is asked for


def test_a_refused_folder_says_what_to_give_instead(tmp_path):
    claim(tmp_path / "edits", "edits")
    (tmp_path / "edits" / "manifest.csv").write_text("case\n")
    with pytest.raises(InputError, match=r"give .*edits/manifest\.csv"):
        refuse_as_input(tmp_path / "edits")
    claim(tmp_path / "demo", "demo")
    claim(tmp_path / "demo" / "unseen", "cohort")
    (tmp_path / "demo" / "unseen" / "manifest.csv").write_text("case\n")
    with pytest.raises(InputError, match=r"give .*unseen/manifest\.csv"):
        refuse_as_input(tmp_path / "demo")
    write_json(tmp_path / "new" / MARK, {"kind": "of a later version"})
    with pytest.raises(InputError, match="of a later version"):
        refuse_as_input(tmp_path / "new")


# -- whatever the user has and whatever is run -----------------------------------------------------

FILES = (
    "map.nii.gz", "mask.nii.gz", "reconstruction.nii.gz", "result.json", "scores.csv", "report.html", "calibration.json",
    "metrics.json", "detector.toml", "weights.safetensors", "manifest.csv", "edit.json", "metrics.jsonl", "s0.nii.gz",
    "ellipses-00000.json", "ellipses-00000_image.nii.gz", "ellipses-00001_mask.nii.gz", "IM0.dcm", "notes.txt", MARK, RECORD,
)  # fmt: skip
WITHIN = ("c0", "sub-01", "data_s0", "s0", "evaluation", "logs", "run", "prepared")

places = st.sampled_from([".", "data", "data", "data/out", "out", "out", "more/deep"])
scans = st.sampled_from(["data"] * 5 + [".", "out", "data/out"])
outs = st.sampled_from(
    ["out"] * 6 + ["data/out"] * 3 + ["data", "more", "more/deep", "link/out", "out/c0", "file/out", "."]
)
entries = st.tuples(
    st.one_of(places, st.tuples(places, st.sampled_from(WITHIN)).map("/".join)),
    st.sampled_from(FILES),
    st.sampled_from(["text", "text", "scan", "dicom", "manifest", "link", "link to folder", "folder"]),
    places,
    st.sampled_from(["c0", "sub-01", "evaluation"]),
)
puts = st.tuples(st.just("put"), entries)
model = st.sampled_from(["A", "A", "B"])
again = st.sampled_from([[], [], ["--overwrite"]])
commands = st.one_of(
    st.tuples(st.just("detect"), model, scans, outs, again),
    st.tuples(st.just("detect-manifest"), model, st.just("data"), outs, again),
    st.tuples(st.just("evaluate"), outs, st.just("data")),
    st.tuples(st.just("report"), outs),
    st.tuples(st.just("import-predictions"), places, st.just("data"), outs),
    st.tuples(st.just("calibrate"), model, outs),
    st.tuples(st.just("fit"), outs, st.one_of(st.none(), outs)),
    st.tuples(st.just("ellipses"), outs),
)
START = [
    ("put", ("data", "s0.nii.gz", "scan", ".", "")),
    ("put", ("data", "manifest.csv", "manifest", ".", "c0")),
    ("put", (".", "link", "link to folder", "more", "")),
    ("put", (".", "file", "text", ".", "")),
]


class Kit:
    """Two detectors that differ, a manifest, and the bytes of scans."""

    def __init__(self, folder):
        self.folder, self.manifest = folder, cohort(folder, split=True)
        self.models = {"A": folder / "A", "B": folder / "B"}
        for letter, name in (("A", "random"), ("B", "constant")):
            detector(name, self.manifest, self.models[letter])
        self.bytes = {"scan": scan_bytes(folder), "dicom": dicom_bytes()}


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return Kit(tmp_path_factory.mktemp("kit"))


@pytest.fixture
def plain(monkeypatch):
    """Without pictures, which take nearly all of the time and write nothing of their own."""
    monkeypatch.setattr("aberra.report.page.case_picture", lambda *_: ("", ""))
    monkeypatch.setattr("aberra.report.page.thumbnail", lambda *_: "data:")
    monkeypatch.setattr("aberra.workflows.evaluate._figures", lambda *_: [])


def _put(root, kit, entry):
    """A file, link or folder of the user's, where there is nothing yet."""
    place, name, what, other, case = entry
    target = root / place / ("manifest.csv" if what == "manifest" else name)
    try:
        if what == "folder":
            target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target):
            return
        if what == "folder":
            target.mkdir()
        elif what == "link":
            target.symlink_to(root / other / name)
        elif what == "link to folder":
            target.symlink_to(root / other, target_is_directory=True)
        elif what == "manifest":
            target.write_text(f"case,image,label\n{case},{kit.folder / 'scan0.nii.gz'},0\n")
        else:
            target.write_bytes(kit.bytes.get(what, f"mine: {entry}".encode()))
    except OSError:  # a file is where a folder would have to be
        return


def _state(root):
    """Everything below: hashes of files, targets of links, folders."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder) / name
            if path.is_symlink():
                found[path] = f"-> {path.readlink()}"
            elif path.is_file():
                found[path] = sha256(path.read_bytes()).hexdigest()
            else:
                found[path] = "folder"
    return found


def _arguments(kit, command):
    name, *rest = command
    if name.startswith("detect"):
        model, path, out, more = rest
        manifest = "/manifest.csv" if name == "detect-manifest" else ""
        return ["detect", kit.models[model], f"{path}{manifest}", "--out", out, *more]
    if name == "fit":
        cache = ["--cache", rest[1]] if rest[1] else []
        return ["fit", "random", kit.manifest, "--out", rest[0], "--set", "prepare.size=16", *cache]
    fixed = {
        "evaluate": lambda out, place: [out, f"{place}/manifest.csv", "--bootstrap", 10],
        "import-predictions": lambda masks, place, out: [masks, f"{place}/manifest.csv", "--out", out],
        "calibrate": lambda model, out: [kit.models[model], kit.manifest, "--out", out],
        "ellipses": lambda out: [out, "--cases", 2, "--size", 64, "--workers", 1],
        "report": lambda out: [out],
    }
    return [name, *fixed[name](*rest)]


def _everything_of_the_users_stays(kit, steps):
    with TemporaryDirectory() as name, chdir(name):
        root = Path(name).resolve()
        theirs = {}
        for step in steps:
            before = _state(root)
            if step[0] == "put":
                _put(root, kit, step[1])
                theirs |= {path: state for path, state in _state(root).items() if path not in before}
                continue
            arguments = [str(each) for each in _arguments(kit, step)]
            done = CliRunner().invoke(app, arguments)
            note(f"{arguments}: {done.exit_code} {done.exception!r} {done.output[-300:]}")
            event(f"{step[0]} {done.exit_code}")
            assert isinstance(done.exception, None | SystemExit | AberraError), done.exc_info
            after = _state(root)
            assert {path: after.get(path) for path in theirs} == theirs


steps = st.tuples(
    st.lists(puts, max_size=1), st.lists(st.one_of(commands, commands, puts), min_size=3, max_size=8)
).map(lambda drawn: START + drawn[0] + drawn[1])


# nothing is shrunk: the notes of the first example that fails say which commands it was
QUICK = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)


@settings(QUICK, max_examples=60)
@given(steps=steps)
def test_every_file_of_the_users_is_there_afterwards(kit, plain, steps):
    _everything_of_the_users_stays(kit, steps)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@settings(QUICK, max_examples=3000)
@given(steps=steps)
def test_every_file_of_the_users_is_there_after_many_more(kit, plain, steps):
    _everything_of_the_users_stays(kit, steps)
