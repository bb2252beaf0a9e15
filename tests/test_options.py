"""Every option of every component, with every kind of wrong value: it works, or it is refused in a
message that names it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import product
from math import inf, isnan, nan
from typing import Annotated, Any, Literal, get_args

import pytest
import torch

from aberra.detector.postprocess import CaseScore, PostProcess
from aberra.errors import ConfigError
from aberra.method import Method
from aberra.options import (
    Between,
    Count,
    Dims,
    Edge,
    Few,
    NotNegative,
    Positive,
    Share,
    Width,
    Within,
    accepted,
    checked,
    configured,
)
from aberra.prepare import checked_wishes
from aberra.prepare.atlas import atlas_grid
from aberra.prepare.plan import plan
from aberra.registry import GIVEN, SECTIONS, build, lookup, names
from aberra.training import TrainingConfig
from aberra.workflows.fit import _check_options

WRONG = [
    0, -1, 1, 2, 3, 7, 50, 10**6, 10**9, 10**30, -(10**30), 2**63, 10**5000,
    0.0, 0.5, 1.0, 2.0, 2.5, -0.5, 1e-300, 1e308, nan, inf, -inf,
    "", "abc", "auto", "none", "1", "0.5", "nan", "true", "\x00", "x" * 10_000, "ä", "[1, 2]",
    [], [0], [1], [-1], [1, 1, 1], [8, 8], [0.5, nan], ["a"], [[1]], [None], [10**9], [2, 1, 0], [1] * 1000, (1, 2),
    {}, {"name": "x"}, {"method": "x"}, {"method": "percentile", "clip": 3}, {1: 2},
    True, False, None, b"x", dt.date(2020, 1, 1),
]  # fmt: skip
"""What a TOML file, ``--set`` or a program may give instead of what was meant."""

SHAPE = {"channels": 1, "dims": 2, "size": (32, 32)}
ON_ATLAS = ("tissue", "mixture-outlier")
"""Models that take the atlas' grid only."""


def _required(kind: str, name: str) -> dict[str, Any]:
    """The simplest values of the options that a component cannot do without."""
    cls = lookup(kind, name)
    config: dict[str, Any] = {"name": name}
    for count in range(4):  # as many options without default as any component has
        missing = [key for key in accepted(cls) if key not in config and key not in GIVEN][:count]
        for values in product(([1, 1, 1], 1, "x"), repeat=count):
            try:
                _built(kind, config | dict(zip(missing, values, strict=True)))
            except ConfigError:
                continue
            return config | dict(zip(missing, values, strict=True))
    raise AssertionError(f"{kind} {name}: no values found that it can be built with")


def _built(kind: str, config: Mapping[str, Any]) -> Any:
    """Build a component; networks without weights, so that a wide one takes no time."""
    if kind not in ("models", "networks", "densities"):
        return build(kind, config)
    with torch.device("meta"):
        size = {"size": atlas_grid(1.0)[0]} if config["name"] in ON_ATLAS else {}
        return build(kind, config, **SHAPE | {"features": 4} | size)


def _tried(call: Callable[[], Any]) -> tuple[Any, str]:
    """What a call returns, or the message it is refused with; anything but these two fails the
    test.
    """
    try:
        return call(), ""
    except ConfigError as error:
        return None, str(error)


def _values(annotation: Any) -> list[Any]:
    """Wrong values, and the ends of the annotation's own ranges with what lies beyond them."""
    ends = []
    parts = [annotation]
    while parts:
        part = parts.pop()
        parts += [each for each in get_args(part) if get_args(each)]
        for within in (each for each in get_args(part) if isinstance(each, Within)):
            for end in (within.low, within.high):
                ends += [end, end - 1, end + 1] if abs(end) < inf else []
                if get_args(part)[0] is int and abs(end) < inf:
                    ends += [int(end), int(end) - 1, int(end) + 1]
    return [*WRONG, *ends, *([each] for each in ends)]


def _few(values: list[Any]) -> list[Any]:
    """Each value once; of numbers only those at both ends and one between."""
    numbers = sorted(
        {value for value in values if isinstance(value, int | float) and not isinstance(value, bool)}
    )
    others = {repr(value): value for value in values if value not in numbers or isinstance(value, bool)}
    return [
        *others.values(),
        *(numbers if len(numbers) < 6 else [*numbers[:2], numbers[len(numbers) // 2], *numbers[-2:]]),
    ]


@pytest.fixture(autouse=True)
def _unweighed(request, monkeypatch):
    """Weighing builds a network once more; it has tests of its own."""
    if "weigh" not in request.node.name and "machine" not in request.node.name:
        monkeypatch.setattr("aberra.registry._weigh", lambda *_: None)


COMPONENTS = [(kind, name) for kind in SECTIONS for name in sorted(names(kind))]


@pytest.mark.parametrize(("kind", "name"), COMPONENTS, ids=lambda each: each)
def test_any_value_of_any_option_works_or_is_refused(kind, name):
    base = _required(kind, name)
    options = {key: each for key, each in accepted(lookup(kind, name)).items() if key not in GIVEN}
    for option, (annotation, default) in options.items():
        fitting, refused = [default] if default is not None else [], 0
        for value in _values(annotation):
            found, said = _tried(lambda: checked(lookup(kind, name), {option: value})[option])  # noqa: B023
            fitting += [] if said else [found]
            refused += bool(said)
            assert not said or said.startswith(f"{option}=") or f"unknown {option} " in said, (option, value)
        assert refused > 10, f"{option} takes nearly anything: {annotation}"
        for value in _few(fitting):
            _, said = _tried(lambda: _built(kind, base | {option: value}))  # noqa: B023
            # what depends on other options
            assert not said or option.removeprefix("guide_") in said or "divisible" in said, (option, value)


@pytest.mark.parametrize(("kind", "name"), COMPONENTS, ids=lambda each: each)
def test_every_option_says_what_it_takes(kind, name):
    for option, (annotation, _) in accepted(lookup(kind, name)).items():
        assert annotation is not Any, f"{name}: {option} has no annotation that can be read"


@pytest.mark.parametrize(("kind", "name"), COMPONENTS, ids=lambda each: each)
def test_an_unknown_option_names_the_nearest(kind, name):
    known = [key for key in accepted(lookup(kind, name)) if key not in GIVEN]
    wrong = f"{known[0]}x" if known else "width"
    with pytest.raises(
        ConfigError,
        match=f"unknown option of (network |density )?{name}: '{wrong}'"
        + (f".*'{known[0]}'" if known else ""),
    ):
        build(kind, {"name": name, wrong: 1})


@pytest.mark.parametrize(
    ("make", "target"),
    [
        (TrainingConfig.from_dict, TrainingConfig),
        (lambda options: PostProcess(**checked(PostProcess, options, "postprocess")), PostProcess),
        (lambda options: CaseScore(**checked(CaseScore, options, "case")), CaseScore),
        (checked_wishes, plan),
    ],
    ids=["training", "postprocess", "case", "prepare"],
)
def test_any_value_of_any_key_of_a_section_works_or_is_refused(make, target):
    keys = {key: each for key, each in accepted(target).items() if key != "fingerprint"}
    assert keys
    assert all(annotation is not Any for annotation, _ in keys.values())
    for key, (annotation, _) in keys.items():
        refused = 0
        for value in _values(annotation):
            _, said = _tried(lambda: make({key: value}))  # noqa: B023
            refused += bool(said)
            assert not said or key in said or isinstance(value, dict), (key, value, said)
        assert refused > 10, f"{key} takes nearly anything: {annotation}"


@cache
def _vae() -> Method:
    return Method.load("vae")


@pytest.mark.parametrize("section", ["model", "training", "score", "postprocess", "prepare", "case"])
def test_any_value_of_a_setting_is_refused_before_a_cohort_is_read(section):
    method = Method.load("vae")
    targets = {
        "model": lookup("models", "vae"),
        "score": lookup("scores", "residual"),
        "training": TrainingConfig,
    }
    targets |= {"postprocess": PostProcess, "prepare": plan, "case": CaseScore}
    keys = {*accepted(targets[section])} - {"channels", "size", "fingerprint"} | {
        "name",
        "steps",
        "score",
        "nosuch",
    }
    for key, value in product(sorted(keys), WRONG):
        _tried(lambda: _check_options(method.overridden({f"{section}.{key}": value})))  # noqa: B023
    with pytest.raises(
        ConfigError, match=f"unknown option of .*{section if section not in ('model', 'score') else ''}"
    ):
        _check_options(method.overridden({f"{section}.nosuch": 1}))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"prepare.size": "abc"}, "prepare.size=abc: expected a number or a list of numbers"),
        ({"prepare.size": 2.5}, "prepare.size=2.5: expected a whole number"),
        ({"prepare.size": [64, "x"]}, "prepare.size=[64, 'x']: expected a number or a list"),
        ({"training.steps": "many"}, "training.steps=many: expected a number, as in training.steps=2000"),
        ({"training.steps": 2.5}, "training.steps=2.5: expected a whole number"),
        ({"training.steps": True}, "training.steps=true: expected a number"),
        ({"model.kl_weight": "abc"}, "model.kl_weight=abc: expected a number, as in model.kl_weight=1.0"),
        ({"model.kl_weight": nan}, "model.kl_weight=nan: expected"),
        ({"model.latent": 12.5}, "model.latent=12.5: expected a whole number"),
        ({"model.network.width": 10**9}, "model.network.width=1000000000: expected 65,536 or less"),
        ({"model.network": "zimerer"}, "Did you mean 'zimmerer201"),
        ({"model.masked": 1}, "model.masked=1: expected true or false"),
        ({"score.smooth": "abc"}, "score.smooth=abc: expected a number"),
        ({"score.compare.mode": 3}, "score.compare.mode=3: expected 'absolute' or 'positive'"),
        ({"postprocess.median_mm": "abc"}, "postprocess.median_mm=abc: expected a number, as in postprocess.median_mm=3"),
        ({"postprocess.median": 5}, "Did you mean 'median_mm'"),
        ({"case.fraction": 0}, "case.fraction=0: expected a number in (0, 1]"),
        ({"case.score": "term"}, "case.score=term: expected a table"),
        ({"prepare.spacing": [1, 1]}, "prepare.spacing"),
        ({"prepare.normalise": "zscor"}, "Did you mean 'zscore'"),
        ({"prepare.normalise": {"method": "window", "low": "a"}}, "normalise.low=a: expected a number"),
        ({"prepare.steps": [{"name": "crop"}], "prepare.size": 32}, "crop: missing a required argument: 'shape'"),
        ({"prepare.steps": [], "prepare.size": 32, "prepare.normalise": "none"}, "[prepare] with its own steps"),
        ({"prepare.steps": [{"name": "orient"}]}, "needs size"),
        ({"model.size": [8, 8]}, "unknown option of vae: 'size'"),
        ({"prepare.dims": 4}, "prepare.dims=4: expected 3 or less"),
        ({"model.dims": 3}, "model.dims: is prepare.dims now"),
    ],
)  # fmt: skip
def test_messages_say_what_was_expected(setting, message):
    with pytest.raises(ConfigError) as caught:
        _check_options(_vae().overridden({"prepare.normalise": "none"} | setting) if "prepare.steps" not in setting
                       else Method.from_dict(_vae().to_dict() | {"prepare": {k.removeprefix("prepare."): v for k, v in setting.items()}}))  # fmt: skip
    assert message in str(caught.value)


def test_whole_numbers_may_be_written_with_a_point_and_numbers_without():
    config = TrainingConfig.from_dict({"steps": 64.0, "learning_rate": 1})
    assert config.steps == 64
    assert isinstance(config.steps, int)
    assert config.learning_rate == 1
    assert build("prepare", {"name": "crop", "shape": [0.0, 8, 8.0]}).shape == [0, 8, 8]


def test_a_network_that_the_machine_cannot_hold_is_refused_before_it_takes_memory():
    for options in ({"width": 65536}, {"width": 30000, "depth": 5}):
        with pytest.raises(
            ConfigError, match=r"DAE: weights and input would take [\d,]+ GiB, this machine has"
        ):
            build("models", {"name": "dae", "network": options}, **SHAPE)
    with pytest.raises(ConfigError, match="GiB"):
        build("models", {"name": "pca", "components": 2**31}, channels=1, size=(64, 64))


def test_weighing_a_network_does_not_change_its_draws():
    torch.manual_seed(0)
    built = build("models", {"name": "vae", "latent": 4, "network": {"width": 4}}, **SHAPE)
    torch.manual_seed(0)
    plain = lookup("models", "vae")(latent=4, network={"width": 4}, **SHAPE)
    for one, other in zip(built.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_bug_in_a_component_is_not_called_a_wrong_option(monkeypatch):
    def broken(self, **options):
        raise TypeError("a bug")

    monkeypatch.setattr(lookup("scores", "residual"), "__init__", broken)
    with pytest.raises(TypeError, match="a bug"):
        build("scores", {"name": "residual"})


class Thing:
    @configured("thing")
    def __init__(
        self,
        *,
        count: Count = 1,
        pair: tuple[Edge, Edge] = (1, 1),
        names: Sequence[Literal["a", "b"]] = (),
        table: Mapping[str, Positive] | None = None,
        mixed: Share | Literal["auto"] = "auto",
        half: Between = 0.5,
        few: Few | None = None,
        plain: Annotated[float, Within(-1, 1, "()")] = 0.0,
        path: str = "",
    ) -> None:
        self.options = (count, pair, names, table, mixed, half, few, plain, path)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"count": 0}, "1 or more"),
        ({"count": 2**31 + 1}, "2,147,483,648 or less"),
        ({"count": -inf}, "1 or more"),
        ({"pair": [1]}, "a list of 2 values"),
        ({"pair": [1, 0]}, "a list with 1 or more in each place"),
        ({"names": ["a", "c"]}, "'a' or 'b' in each place"),
        ({"names": "ab"}, "'a' and 'b'"),
        ({"table": {"x": 0}}, "a number above 0 at each key"),
        ({"mixed": "atuo"}, "a number or 'auto'"),
        ({"mixed": 2}, r"a number in \[0, 1\]"),
        ({"half": 1}, "a number between 0 and 1"),
        ({"few": 1001}, "1,000 or less"),
        ({"plain": -1}, "a number between -1 and 1"),
        ({"path": "a\0b"}, "text"),
    ],
)
def test_a_constructor_checks_however_it_is_called(options, expected):
    with pytest.raises(ConfigError, match=rf"thing\.{next(iter(options))}.*expected .*{expected}"):
        Thing(**options)


def test_a_range_is_shown_as_an_interval():
    assert repr(Within(0, 1, "[)")) == "[0, 1)"
    assert str(Width).endswith("[1, 65536]]")


def test_a_constructor_gets_what_it_was_given():
    given = {"count": 2.0, "pair": (3, 4), "names": ["a"], "table": {"x": 1}, "mixed": 0.5, "few": None}
    assert Thing(**given).options[:7] == (2, (3, 4), ["a"], {"x": 1}, 0.5, 0.5, None)


@pytest.mark.parametrize("kind", [Width, Dims, NotNegative, Positive, Share, Between])
def test_no_range_takes_what_is_not_a_number(kind):
    (within,) = [each for each in get_args(kind) if isinstance(each, Within)]
    assert not any(isnan(value) and value in within for value in (nan,))
