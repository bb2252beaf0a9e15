from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest

from aberra.errors import ConfigError, PairingError
from aberra.method import SECTIONS, Method, catalogue, parse_settings
from aberra.models.vae import VAE
from aberra.registry import build, lookup
from aberra.scores import check_pairing

NAMES = {
    "intensity", "intensity-unfiltered", "intensity-depth", "zmap", "tissue", "tissue-bright", "tissue-dark", "mixture-outlier", "constant", "random", "ae", "ae-spatial", "vae", "dae", "context-ae", "constrained-ae", "aae",
    "constrained-aae", "cevae", "gmvae", "gmvae-spatial", "anovaegan", "anogan", "fanogan", "bayesian-ae", "bayesian-vae",
    "skip-ae", "scale-space-ae", "vqvae", "pca", "ocsvm", "vae-restoration", "gmvae-restoration",
    "gmvae-spatial-restoration", "irvae", "vae-kl-gradient", "vae-elbo-gradient", "vae-combi", "cevae-gradient",
    "cevae-combi", "vae-sampling-variance",
}  # fmt: skip


def test_the_catalogue_is_complete_and_documented():
    assert set(catalogue()) >= NAMES
    for name in catalogue():
        method = Method.load(name)
        assert method.title
        assert method.reference
        assert method.cost
        assert method.failure
        assert method.summary
        assert method.when
        lookup("models", method.model["name"])
        build("scores", method.score)


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
    method = Method.load(path, {"model.width": 12})
    assert method.name == "mine"
    assert method.model == {"name": "dae", "width": 12}
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
    assert "mode" not in combi.score  # a section with a name replaces the base's
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
