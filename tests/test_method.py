from __future__ import annotations

import tomllib
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from aberra import method as room
from aberra.errors import ConfigError, PairingError
from aberra.method import SECTIONS, Method, catalogue, parse_settings
from aberra.models.vae import VAE
from aberra.registry import build, lookup
from aberra.scores import SmoothedScore, check_pairing


def test_the_catalogue_is_documented_and_can_be_built():
    assert len(catalogue()) >= 55
    for name in catalogue():
        method = Method.load(name)
        assert method.title
        assert method.reference
        assert method.cost
        assert method.failure
        assert method.summary
        assert method.when
        lookup("models", method.model["name"])
        SmoothedScore.of(method.score)


def test_settings_are_toml_values_or_text():
    found = parse_settings(
        [
            "model.latent=64",
            "training.flip=0.5",
            "prepare.mask=strip",
            "prepare.match=true",
            "prepare.size=[32, 48]",
        ]
    )
    assert found == {
        "model.latent": 64,
        "training.flip": 0.5,
        "prepare.mask": "strip",
        "prepare.match": True,
        "prepare.size": [32, 48],
    }
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        parse_settings(["model.latent"])


def test_a_path_works_like_a_name(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('title = "Mine"\n[model]\nname = "dae"\nwidth = 8\n[score]\nname = "residual"\n')
    method = Method.load(path, {"model.network.width": 12})
    assert method.name == "mine"
    assert method.model == {"name": "dae", "network": {"width": 12}}
    path.write_text("titel = 1\n")
    with pytest.raises(ConfigError, match="Did you mean 'title'"):
        Method.load(path)


def test_unknown_names_and_sections():
    with pytest.raises(ConfigError, match="Did you mean 'dae'"):
        Method.load("daee")
    with pytest.raises(ConfigError, match="unknown method 'xxx"):
        Method.load("x" * 5000)  # no system takes it as a file's name
    with pytest.raises(ConfigError, match="setting"):
        Method.load("dae", {"modle.width": 3})
    nameless = Method.load("dae").to_dict()
    del nameless["name"]
    with pytest.raises(ConfigError, match=r"mine: missing .*'name'"):
        Method.from_dict(nameless, "mine")


def test_a_pairing_that_cannot_work_is_refused_without_weights():
    with pytest.raises(PairingError, match=r"ScoresVolume.*VAE.*intensity"):
        check_pairing(VAE, build("scores", {"name": "direct"}))
    check_pairing(VAE, build("scores", {"name": "residual"}))


def test_a_text_that_several_methods_share_is_named_by_its_key(tmp_path):
    study = Method.load("vae").reference
    assert "arXiv 2004.03271" in study
    path = tmp_path / "mine.toml"
    path.write_text(
        'base = "vae"\nreference = "Me 2026, me@here.org; @baur2021"\ndeviations = ["@both-signs", "own"]\n'
    )
    method = Method.load(path)
    assert method.reference == f"Me 2026, me@here.org; {study}"
    assert method.deviations[0].startswith("The residual keeps both signs")
    assert method.deviations[1] == "own"
    path.write_text('base = "vae"\nreference = "@baur2012"\n')
    with pytest.raises(ConfigError, match=r"mine\.toml.*'baur2012'.*baur2021"):
        Method.load(path)


def test_no_text_of_the_catalogue_names_a_key_that_is_not_there_and_none_is_unused():
    used = "".join(path.read_text() for path in catalogue().values())
    texts = tomllib.loads((catalogue()["vae"].parent / "_texts.toml").read_text())
    for key, text in texts.items():
        assert f"@{key}" in used, key
        assert used.count(text) == 0, key  # written out
    for name in catalogue():
        method = Method.load(name)
        assert "@" not in " ".join([method.reference, *method.deviations]), name


def test_a_file_that_is_only_a_base_is_no_method():
    assert "_study" not in catalogue()
    assert Method.load("vae").training == Method.load("ae").training
    assert Method.load("gmvae").training == Method.load("ae").training | {"learning_rate": 5e-5}


def test_steps_of_its_own_replace_the_wishes_of_the_base(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text(
        'base = "ae-strided"\n[prepare]\nsize = [64, 64]\nsteps = [{ name = "brain-mask", method = "ct" }]\n'
    )
    assert set(Method.load(own).prepare) == {"size", "steps"}
    below = Method.load("synthetic-lesions").prepare
    above = Method.load("synthetic-lesions-atlas").prepare
    assert (above["size"], above["dims"]) == (below["size"], below["dims"])


def test_family_is_taken_from_the_base_and_being_a_baseline_is_not():
    assert Method.load("bayesian-vae").family == Method.load("vae").family == "variational"
    assert Method.load("vae-restoration").family == "restoration"
    baselines = {name for name in catalogue() if Method.load(name).baseline}
    assert baselines == {"intensity", "intensity-unfiltered", "intensity-depth", "zmap", "random"}


def test_settings_are_all_but_name_and_texts():
    method = Method.load("dae")
    assert set(method.settings) == {"learns_from", *SECTIONS}
    assert replace(method, title="x", deviations=["y"]).settings == method.settings
    assert method.overridden({"case.reduce": "max"}).settings != method.settings


def test_what_was_measured_may_still_be_in_old_files_and_detectors(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('measured = "AP .5"\n[model]\nname = "dae"\n[score]\nname = "residual"\n')
    method = Method.load(path)
    assert not hasattr(method, "measured")
    assert Method.from_dict(method.to_dict() | {"measured": "AP .5"}) == method


def _files(tmp_path, **texts):
    for name, text in texts.items():
        (tmp_path / f"{name}.toml").write_text(text)
    return tmp_path


def test_a_method_may_start_from_another():
    vae = Method.load("vae")
    combi = Method.load("vae-combi")
    assert combi.learnt == vae.learnt
    assert combi.score["name"] == "combi"
    assert (
        Method.load("cevae-combi").score.keys() == combi.score.keys()
    )  # a section with a name replaces the base's
    assert combi.title != vae.title
    assert combi.learns_from == vae.learns_from


def test_a_file_may_start_from_a_file_beside_it_and_change_single_keys(tmp_path, monkeypatch):
    folder = _files(
        tmp_path,
        one='base = "vae"\n[training]\nsteps = 7\n',
        two='base = "one.toml"\ntitle = "two"\n[training]\nbatch_size = 3\n[score]\nsmooth = 1.0\n',
    )
    monkeypatch.chdir("/")
    method = Method.load(folder / "two.toml")
    base = Method.load("vae")
    assert method.training == base.training | {"steps": 7, "batch_size": 3}
    assert method.score == base.score | {"smooth": 1.0}
    assert method.model == base.model
    with pytest.raises(ConfigError, match="unknown method 'vaes'"):
        Method.load(_files(tmp_path, three='base = "vaes"\n') / "three.toml")


def test_tables_of_the_score_are_changed_key_by_key_or_replaced_with_their_name(tmp_path):
    folder = _files(
        tmp_path,
        one='base = "vae-restoration"\n[score.restore]\ntv = 1.0\n[score.compare]\nmode = "positive"\n',
        two='base = "one.toml"\n[score.restore]\nname = "draws"\n',
    )
    base = Method.load("vae-restoration").score
    one, two = (Method.load(folder / f"{name}.toml").score for name in ("one", "two"))
    assert one == base | {"restore": base["restore"] | {"tv": 1.0}, "compare": {"mode": "positive"}}
    assert two == one | {"restore": {"name": "draws"}}


def test_settings_reach_into_tables():
    method = Method.load("vae-restoration", {"score.restore.tv": 1.0, "score.compare.mode": "ssim"})
    assert method.score["restore"] == Method.load("vae-restoration").score["restore"] | {"tv": 1.0}
    assert method.score["compare"] == {"mode": "ssim"}
    assert Method.load("vae-restoration").score["restore"]["tv"] == 0.3
    for key in ("score", "score.", "score..tv", ".tv", "scores.tv"):
        with pytest.raises(ConfigError, match="setting"):
            Method.load("vae", {key: 1})


def test_the_question_names_the_restoration():
    questions = [
        Method.load(name).question for name in ("vae", "vae-restoration", "vae-combi", "bayesian-ae")
    ]
    assert questions == ["residual", "residual (restoration)", "combi", "residual (draws)"]


def test_how_a_method_is_tested_is_no_part_of_what_it_is(tmp_path):
    text = 'base = "vae"\n'
    tested = text + '[tiny]\nmodel.network.width = 4\n[conformance.xfail]\norientation = "a reason"\n'
    folder = _files(tmp_path, plain=text)
    plain = Method.load(folder / "plain.toml")
    _files(tmp_path, plain=tested)
    method = Method.load(folder / "plain.toml")
    assert method.tiny["model"]["network"]["width"] == 4
    assert method.conformance == {"xfail": {"orientation": "a reason"}}
    assert method.learnt == plain.learnt
    assert method.settings == plain.settings
    assert method.record == plain.record
    assert not {"tiny", "conformance"} & method.record.keys()
    assert method.settings.keys() == {"learns_from", *SECTIONS}


def test_test_size_is_inherited_but_for_sections_that_are_replaced(tmp_path):
    folder = _files(
        tmp_path,
        one='[model]\nname = "ae"\n[training]\nsteps = 900\n[score]\nname = "residual"\n'
        "[tiny]\nmodel.network.width = 8\ntraining.steps = 30\nscore.smooth = 2.0\n",
        two='base = "one.toml"\n[score]\nname = "residual"\nmode = "positive"\n[tiny]\nmodel.latent = 4\n',
        three='base = "one.toml"\n[conformance]\nlesion = "hypo"\n',
        four='base = "three.toml"\n[training]\nsteps = 800\n',
    )
    one, two, four = (Method.load(folder / f"{name}.toml").at_test_size() for name in ("one", "two", "four"))
    assert one.model == {"name": "ae", "network": {"width": 8}}
    assert one.training == {"steps": 30, "batch_size": 8, "learning_rate": 2e-3}
    assert one.score["smooth"] == 2.0
    assert one.prepare == {"size": 32}
    assert one.postprocess == {"median_mm": 30.0}
    assert two.model == {"name": "ae", "network": {"width": 8}, "latent": 4}
    assert two.score == {"name": "residual", "compare": {"mode": "positive"}}
    assert four.training["steps"] == 30
    assert not four.conformance  # of the method that says it only


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tiny]\nmodle.width = 4\n", "Did you mean 'model'"),
        ("[tiny]\nwidth = 4\n", "tiny"),
        ('[conformance]\nlesions = "hypo"\n', "Did you mean 'lesion'"),
        ('[conformance]\nlesion = "dark"\n', "conformance.lesion"),
        ("[conformance.xfail]\norientation = 1\n", "conformance.xfail"),
    ],
)
def test_mistakes_in_how_a_method_is_tested_are_errors(tmp_path, text, message):
    path = _files(tmp_path, mine=f'base = "vae"\n{text}') / "mine.toml"
    with pytest.raises(ConfigError, match=message) as caught:
        Method.load(path)
    assert "mine.toml" in str(caught.value)


def test_a_file_in_the_working_folder_does_not_stand_for_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = '[model]\nname = "pca"\n[score]\nname = "residual"\n'
    Path("dae").write_text(mine)
    assert Method.load("dae").model["name"] == "dae"
    assert Method.load("./dae").model["name"] == "pca"
    assert Method.load(tmp_path / "dae").model["name"] == "pca"


@pytest.fixture
def plugins(monkeypatch):
    """Return a function: plugin to the package of its methods, as if installed."""

    def install(**packages):
        points = [EntryPoint(name, value, "aberra.methods") for name, value in packages.items()]
        monkeypatch.setattr(room, "entry_points", lambda **_: points)
        room._named.cache_clear()

    yield install
    monkeypatch.undo()
    room._named.cache_clear()


def test_plugins_bring_methods_with_names_and_replace_none(tmp_path, monkeypatch, plugins):
    package = tmp_path / "my_methods"
    package.mkdir()
    (package / "__init__.py").write_text("")
    _files(package, mine='base = "vae"\n', vae='base = "pca"\n')
    monkeypatch.syspath_prepend(tmp_path)
    plugins(mine="my_methods")
    assert Method.load("mine").model["name"] == "vae"
    assert catalogue()["mine"] == package / "mine.toml"
    assert Method.load("vae").model["name"] == "vae"


def test_a_plugin_that_is_broken_takes_no_name_but_its_own_away(plugins):
    plugins(gone="no_such_package_here", parent="no_such_package_here.methods")
    assert Method.load("vae").model["name"] == "vae"
    with pytest.raises(ConfigError, match=r"unknown method 'mine'.*plugin gone gives none: .*plugin parent"):
        Method.load("mine")


@pytest.mark.parametrize(("option", "name"), [("encoder", "ae"), ("density", "realnvp")])
def test_a_text_is_the_name_of_a_models_table(option, name, tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(f'base = "cradl"\n[model]\n{option} = "{name}"\n')
    for method in (Method.load(path), Method.load("cradl", {f"model.{option}": name})):
        assert method.model[option] == {"name": name}
        assert method.at_test_size().model[option]["name"] == name
    kept = ({"encoder", "density"} - {option}).pop()
    assert Method.load(path).model[kept] == Method.load("cradl").model[kept]
