"""Manifests as spreadsheets, editors and other countries save them."""

from __future__ import annotations

import pytest

from aberra.cohort import Cohort
from aberra.errors import ManifestError

TEXT = "case,flair,label,site\na,a.nii.gz,0,north\nb,b.nii.gz,1,south\n"
SCANS = ("a.nii.gz", "b.nii.gz")


@pytest.fixture
def table(scan, tmp_path):
    """Write a manifest beside two scans."""
    for name in SCANS:
        scan(name)

    def write(content, name="manifest.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def _seen(path):
    return [
        (case.case, case.channels["flair"].name, case.label, case.groups["site"])
        for case in Cohort.read(path)
    ]


MEANT = [("a", "a.nii.gz", 0, "north"), ("b", "b.nii.gz", 1, "south")]


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        TEXT.rstrip("\n"),
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("\n", "\r"),
        "\ufeff" + TEXT,
        TEXT.replace("\n", ",,\n"),
        TEXT.replace("\n", ",,,\r\n"),
        TEXT.replace("site\n", "site,,\n"),
        TEXT.replace("north\n", "north,,\n"),
        TEXT.replace("\n", "\n\n"),
        "\n\n" + TEXT + "\n,,,\n  ,  \n\n",
        "sep=,\n" + TEXT,
        TEXT.replace("case,flair", "Case , FLAIR"),
        TEXT.replace(",", " , "),
        TEXT.replace("a,a.nii.gz", "a,./x/../a.nii.gz"),
        '"case","flair","label","site"\n"a","a.nii.gz","0","north"\n"b","b.nii.gz","1","south"\n',
        TEXT.replace(",0,", ",0.0,").replace(",1,", ",1.0,"),
        TEXT.replace("north", '"north"'),
    ],
    ids=repr,
)
def test_one_table_in_many_spellings(table, content, tmp_path):
    (tmp_path / "x").mkdir()
    assert _seen(table(content)) == MEANT


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.CSV", "manifest", "manifest.tsv"])
def test_commas_are_read_whatever_the_files_name(table, name):
    assert _seen(table(TEXT, name)) == MEANT


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (TEXT.replace(",", ";"), "separated by semicolons; save it as 'CSV UTF-8"),
        (TEXT.replace(",", "\t"), "separated by tabs; save it as 'CSV UTF-8"),
        (TEXT.replace(",", "|"), "separated by bars"),
        (TEXT.replace(",", " "), "separated by spaces"),
        ("\ufeff" + TEXT.replace(",", ";"), "separated by semicolons"),
        ("sep=;\n" + TEXT.replace(",", ";"), "separated by semicolons"),
        ("sep=\t\n" + TEXT.replace(",", "\t"), "separated by tabs"),
        (TEXT.replace(",", ";").replace("case", '"Case"'), "separated by semicolons"),
        ("case\tflair,label\na\ta.nii.gz,0\n", "separated by tabs"),
        (
            TEXT.split("\n", 1)[0] + "\n" + TEXT.replace(",", ";").split("\n", 1)[1],
            r"row 2: 1 fields.*separated by semicolons\?",
        ),
        (TEXT.encode("utf-16"), "UTF-16.*save it as 'CSV UTF-8"),
        (TEXT.encode("utf-16-be"), "NUL byte.*UTF-16"),
        (TEXT.encode("utf-32"), "UTF-32"),
        (
            TEXT.replace("north", "nörd").encode("latin-1"),
            r"row 2: cannot be read as UTF-8 \(byte 0xf6\), perhaps it is Latin-1",
        ),
        (TEXT.replace("north", "n\0rth"), "row 2: a NUL byte"),
        (b"PK\x03\x04" + b"\x00" * 40, "a spreadsheet or zip file"),
        (b"\xd0\xcf\x11\xe0" + b"\x00" * 40, "old Excel workbook"),
        (b"\x1f\x8b\x08", "gzipped"),
        ("", "the file is empty"),
        ("\n\n , , \n", "the file is empty"),
        ("case,flair\n", "no cases: only a header"),
        ("case,flair\n,\n", "no cases: only a header"),
        (
            "a,a.nii.gz,0\n",
            "row 1: expected a header with a column 'case'.*the columns are 'a', 'a.nii.gz', '0'",
        ),
        ("cases,flair\na,a.nii.gz\n", "Is 'cases' meant"),
        ('"case,flair,label"\n"a,a.nii.gz,0"\n', "the whole line is in quotes"),
        ("case\na\n", "no channel"),
    ],
    ids=repr,
)
def test_the_cause_is_named(table, content, cause):
    with pytest.raises(ManifestError, match=cause):
        Cohort.read(table(content))


@pytest.mark.parametrize("name", ["table.tsv", "table.TSV", "table.csv", "table.psv", "table.xlsx"])
def test_a_table_given_as_input_is_not_taken_for_a_scan(table, name):
    with pytest.raises(ManifestError, match="separated by tabs"):
        Cohort.from_paths(table(TEXT.replace(",", "\t"), name))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (TEXT.replace("north", '"north'), "row 2: cannot be read as CSV .*are quotes closed"),
        (TEXT.replace("north", '"north').replace("south", 'south"'), "row 2: a field runs over the end of the line"),
        (TEXT.replace("north", '"no"rth'), "row 2: cannot be read as CSV"),
        (TEXT.replace("a.nii.gz", '"a.nii.gz'), "are quotes closed"),
        (TEXT.replace("south", '"south'), "row 3: cannot be read as CSV"),
        (TEXT.replace("site", "flair"), r"column\(s\) flair occur twice"),
        (TEXT.replace("site", "FLAIR "), r"column\(s\) flair occur twice"),
        (TEXT.replace("site", ""), "column 4 has no name, but values"),
        (TEXT.replace("site", "x" * 101), "column 4 has the name .* at most 100"),
        (TEXT.replace("site", "a\x07b"), "column 4 has the name"),
        (TEXT.replace("north", "north,extra"), "row 2: 5 fields, the header has 4"),
        (TEXT.replace(",0,north", ""), "row 2: 2 fields, the header has 4"),
        (TEXT.replace("north", "x" * 200_000), "row 2: cannot be read as CSV"),
        (TEXT.replace("site", "age").replace("north", '"61,5"'), "row 2: age '61,5' is not a number of years, as in 61.5"),
        (TEXT.replace("site", "age").replace("north", "61,5"), "row 2: 5 fields"),
        (TEXT.replace("site", "age").replace("north", "034Y"), "age '034Y'"),
        (TEXT.replace("site", "age").replace("north", "-3"), "age '-3'"),
        (TEXT.replace("site", "age").replace("north", "3400"), "age '3400'"),
        (TEXT.replace("site", "age").replace("north", "9" * 400), "age '999"),
        (TEXT.replace("site", "age").replace("north", "nan"), "age 'nan'"),
        (TEXT.replace(",0,", ",healthy,"), "label 'healthy' is unknown"),
        (TEXT.replace(",0,", ",2,"), "label '2'"),
        (TEXT.replace("a,a", "sub 01,a"), "case 'sub 01' is not a name .*, as in 'sub_01'"),
        (TEXT.replace("a,a", "sub/01,a"), "case 'sub/01' is not a name .*, as in 'sub_01'"),
        (TEXT.replace("a,a", "..,a"), r"case '\.\.' is not a name"),
        (TEXT.replace("a,a", "-x,a"), "case '-x' is not a name"),
        (TEXT.replace("a,a", ",a"), "case '' is not a name"),
        (TEXT.replace("a,a", "x" * 300 + ",a"), "is too long: 300 bytes"),
        (TEXT.replace("a,a", "ä" * 100 + ",a"), "is too long: 200 bytes"),
        (TEXT.replace("b,b", "a,b"), "row 3: case 'a' is there already, in row 2"),
        (TEXT.replace("b,b", "A,b"), "case 'A' is there already, in row 2 as 'a'"),
        (TEXT.replace("a,a", "\u00e9,a").replace("b,b", "\u00c9,b"), "which some systems do not tell apart"),
        (TEXT.replace("a.nii.gz", "nowhere.nii.gz"), "row 2: flair: no such file"),
        (TEXT.replace("a.nii.gz", "~nobody-of-that-name/a.nii.gz"), "row 2: flair: no such file"),
        (TEXT.replace("a.nii.gz", r"scans\a.nii.gz"), "write folders with '/'"),
        (TEXT.replace("a.nii.gz", r"C:\scans\a.nii.gz"), "write folders with '/'"),
        (TEXT.replace("a.nii.gz", "x" * 5000 + ".nii.gz"), "row 2: flair: .*too long"),
        (TEXT.replace("a.nii.gz", ""), "row 2: a has no scan in any channel"),
    ],
    ids=lambda each: repr(each)[:60],
)  # fmt: skip
def test_what_is_wrong_with_a_row_is_told_with_its_number(table, content, problem):
    with pytest.raises(ManifestError, match=problem):
        Cohort.read(table(content))


def test_rows_are_counted_as_an_editor_counts_them(table):
    with pytest.raises(ManifestError) as caught:
        Cohort.read(table("case,flair,label\n\na,a.nii.gz,7\n\n\nb,b.nii.gz,8\n"))
    assert [problem[:6] for problem in caught.value.problems] == ["row 3:", "row 6:"]


def test_all_that_is_wrong_is_told_at_once(table):
    text = "case,flair,flair,label,age,\nsub 1,a.nii.gz,,0,30,x\nb,nowhere.nii.gz,,5,-1,\nb,b.nii.gz\n"
    with pytest.raises(ManifestError) as caught:
        Cohort.read(table(text))
    said = "\n".join(caught.value.problems)
    for each in (
        "occur twice",
        "column 6 has no name",
        "'sub 1'",
        "label '5'",
        "age '-1'",
        "row 4: 2 fields",
        "row 4: case 'b'",
    ):
        assert each in said


def test_paths_may_be_absolute_in_the_home_folder_or_above(scan, tmp_path, monkeypatch):
    scan("a.nii.gz")
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "below"
    folder.mkdir()
    for index, path in enumerate((tmp_path / "a.nii.gz", "~/a.nii.gz", "../a.nii.gz")):
        (folder / f"{index}.csv").write_text(f"case,flair\na,{path}\n")
        assert Cohort.read(folder / f"{index}.csv")[0].channels["flair"].samefile(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("name", ["a.b", "Ünï", "x+y-z_1", "日本", "1", "é" * 75])
def test_names_of_many_scripts_are_names(table, name):
    assert Cohort.read(table(f"case,flair\n{name},a.nii.gz\n"))[0].case == name


def test_known_splits_are_known_in_any_case(table):
    cohort = Cohort.read(table("case,flair,split\na,a.nii.gz,Train\nb,b.nii.gz,Fold 1\n"))
    assert [case.split for case in cohort] == ["train", "Fold 1"]


def test_a_folder_is_not_a_manifest(tmp_path):
    with pytest.raises(ManifestError, match="a folder; give the CSV file"):
        Cohort.read(tmp_path)


def test_a_name_that_is_no_path_is_refused(tmp_path):
    for name in ("a\0b.csv", "x" * 5000 + ".csv"):
        with pytest.raises(ManifestError, match="cannot be read"):
            Cohort.read(name)


def test_many_rows_take_no_time_and_no_recursion(table):
    rows = "\n".join(f"c{index},a.nii.gz,0,x" for index in range(20_000))
    assert len(Cohort.read(table(f"case,flair,label,site\n{rows}\n"))) == 20_000
