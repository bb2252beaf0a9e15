"""Options: what a keyword argument takes is said by its annotation, and checked here.

A constructor states type, choices and range, and needs no check of its own for any of them::

    class Term:
        @configured("score")
        def __init__(self, *, of: Literal["kl", "elbo"] = "elbo", kappa: NotNegative = 1.0): ...

What depends on several options at once (``low ≤ high``) is the constructor's own business.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
from functools import wraps
from math import inf, isfinite
from numbers import Integral, Real
from typing import TYPE_CHECKING, Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from aberra.errors import ConfigError, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

P = ParamSpec("P")
R = TypeVar("R")

MANY = 1 << 31
"""Guard of counts: above it a number is a slip of the keyboard, and arithmetic with it
overflows."""


class Within:
    """A range of numbers, for ``Annotated``.

    Args:
        low: least value.
        high: greatest value; a message only speaks of it where it is passed, or where the range is
            a share.
        ends: ``[`` and ``]`` where the end itself is in the range, ``(`` and ``)`` where it is not.
    """

    def __init__(
        self, low: float = -inf, high: float = inf, ends: Literal["[]", "[)", "(]", "()"] = "[]"
    ) -> None:
        self.low, self.high, self.ends = low, high, ends

    def __repr__(self) -> str:
        return f"{self.ends[0]}{self.low:g}, {self.high:g}{self.ends[1]}"

    def __contains__(self, value: float) -> bool:
        above = self.low <= value if self.ends[0] == "[" else self.low < value
        return above and (value <= self.high if self.ends[1] == "]" else value < self.high)

    def expected(self, value: float) -> str:
        """What a message about ``value`` says."""
        if self.low > -inf and self.high <= 1:
            if self.ends == "()":
                return f"a number between {self.low:g} and {self.high:g}"
            return f"a number in {self.ends[0]}{self.low:g}, {self.high:g}{self.ends[1]}"
        if value > self.low and self.high < inf:
            return f"{self.high:,.0f} or less" if self.ends[1] == "]" else f"a number below {self.high:,.0f}"
        return f"{self.low:g} or more" if self.ends[0] == "[" else f"a number above {self.low:g}"


Count = Annotated[int, Within(1, MANY)]
"""1 or more."""
Maybe = Annotated[int, Within(0, MANY)]
"""0 or more; 0 is off."""
Few = Annotated[int, Within(1, 1000)]
"""1 to 1,000: things that are all held at once."""
Several = Annotated[int, Within(2, MANY)]
"""2 or more."""
Dims = Annotated[int, Within(2, 3)]
"""2 for slices, 3 for volumes."""
Width = Annotated[int, Within(1, 1 << 16)]
"""Filters, codes, words: numbers of features."""
WidthOrNone = Annotated[int, Within(0, 1 << 16)]
"""The same; 0 is none."""
Levels = Annotated[int, Within(1, 16)]
"""Stages that halve an image, or blocks in a row."""
Edge = Annotated[int, Within(1, 1 << 14)]
"""Voxels along an axis."""
EdgeOrNone = Annotated[int, Within(0, 1 << 14)]
"""The same; 0 leaves the axis as it is."""
Timesteps = Annotated[int, Within(2, 100_000)]
"""Steps of a noise schedule."""
Step = Annotated[int, Within(1, 100_000)]
"""One of them, or how many."""
Reach = Annotated[int, Within(1, 999)]
"""Edge of a window that slides over an image."""
Sigma = Annotated[float, Within(0, 1000)]
"""σ of a Gaussian in voxels; 0 is off."""
AtlasVoxel = Annotated[float, Within(0.5, 100)]
"""Voxel size of the atlas grid in mm."""
NotNegative = Annotated[float, Within(0)]
Positive = Annotated[float, Within(0, ends="()")]
Share = Annotated[float, Within(0, 1)]
"""In [0, 1]."""
ShareAboveZero = Annotated[float, Within(0, 1, "(]")]
"""In (0, 1]."""
ShareBelowOne = Annotated[float, Within(0, 1, "[)")]
"""In [0, 1)."""
Between = Annotated[float, Within(0, 1, "()")]
"""In (0, 1)."""


class _Misfit(Exception):  # noqa: N818  (never leaves this room)
    """A value is not of the kind expected; its text says what was."""


def configured(
    section: str, *, extends: type | None = None, without: Collection[str] = ()
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check the keyword arguments of a constructor or function whenever it is called.

    Args:
        section: where a user sets them, as in ``"model"``.
        extends: a class whose options are this constructor's, too; they come in its ``**options``.
        without: those that are not.
    """

    def wrap(target: Callable[P, R]) -> Callable[P, R]:
        @wraps(target)
        def call(*args: P.args, **options: P.kwargs) -> R:
            return target(*args, **checked(call, options, section))

        if extends is not None:
            call.__extends__ = extends  # type: ignore[attr-defined]
            call.__signature__ = _extended(target, extends, without)  # type: ignore[attr-defined]
        return call

    return wrap


def _extended(target: Callable[..., Any], extends: type, without: Collection[str]) -> inspect.Signature:
    """The signature of a constructor whose ``**options`` are another class's."""
    own = inspect.signature(target).parameters
    theirs = [
        parameter
        for name, parameter in inspect.signature(extends).parameters.items()
        if name not in own and name not in without
    ]
    ours = [each for each in own.values() if each.kind is not each.VAR_KEYWORD]
    return inspect.Signature([*ours, *theirs])


def checked(
    target: Callable[..., Any],
    options: Mapping[str, Any],
    where: str = "",
    *,
    title: str = "",
    source: object = "",
    given: Collection[str] = (),
) -> dict[str, Any]:
    """Check options against the annotations of a class or function.

    Args:
        target: takes them as keyword arguments.
        options: name to value.
        where: section of a method file or setting that has them, put before the option's name in
            messages.
        title: what the options are of, where that is not ``[where]``.
        source: file that they are from, put before the message.
        given: arguments that are not options, but the caller's.

    Returns:
        The options; whole numbers that were written as ``64.0`` are integers.

    Raises:
        ConfigError: an option that is not known (nearest named), or a value of the wrong type or
            out of range.
    """
    known = {name: each for name, each in accepted(target).items() if name not in given}
    place = f"{source}: " if source else ""
    found = {}
    for key, value in options.items():
        if key not in known:
            raise unknown(f"option of {title or (f'[{where}]' if where else source)}:", str(key), known)
        kind, default = known[key]
        found[key] = conforming(value, kind, f"{place}{where}.{key}" if where else f"{place}{key}", default)
    return found


def complete(target: Callable[..., Any], arguments: dict[str, Any], what: str) -> dict[str, Any]:
    """Return the arguments if none is missing.

    Raises:
        ConfigError: says which one is.
    """
    try:
        inspect.signature(target).bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"{what}: {error}") from error
    return arguments


def conforming(value: Any, kind: Any, name: str, default: Any = None) -> Any:
    """Return one value as a kind of annotation wants it.

    Args:
        value: what was given.
        kind: the annotation.
        name: of the option, for the message.
        default: an example for the message; None gives none.

    Raises:
        ConfigError: it does not fit; the message says what would.
    """
    try:
        return _conform(value, kind)
    except _Misfit as misfit:
        choices = [str(each) for each in _choices(kind)]
        if choices and isinstance(value, str) and not _is_number(kind):
            raise unknown(name, value, choices) from None
        example = "" if default in (None, "", ()) else f", as in {name.rpartition(': ')[2]}={shown(default)}"
        raise ConfigError(f"{name}={shown(value)}: expected {misfit}{example}") from None


def accepted(target: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Name to annotation and default of a class's or function's keyword arguments; no default, or
    one that is made, is None.
    """
    scope = _scope(target)
    plain = (bool, int, float, str, tuple)
    return {
        name: (
            _resolved(parameter.annotation, scope),
            parameter.default if isinstance(parameter.default, plain) else None,
        )
        for name, parameter in inspect.signature(target).parameters.items()
        if name != "self" and parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
    }


def _scope(target: Any) -> dict[str, Any]:
    """Names that annotations of a class or function may have in them."""
    function: Any = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
    own: dict[str, Any] = getattr(inspect.unwrap(function), "__globals__", {})
    return _scope(function.__extends__) | own if hasattr(function, "__extends__") else own


def _resolved(annotation: Any, scope: dict[str, Any]) -> Any:
    """The annotation itself; ``Any`` where a plugin's annotation has names that only a type checker
    sees.
    """
    if annotation is inspect.Parameter.empty:
        return Any
    try:
        return eval(annotation, scope) if isinstance(annotation, str) else annotation  # noqa: S307  (our code, not the user's)
    except NameError:
        return Any


def _conform(value: Any, kind: Any) -> Any:
    """The value as its kind wants it, or a misfit."""
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin in GENERIC:
        return GENERIC[origin](value, arguments)
    if origin in PLAIN:
        return PLAIN[origin](value)
    return _when(isinstance(value, origin), value, origin.__name__) if isinstance(origin, type) else value


def _when(fits: bool, value: Any, expected: str) -> Any:
    if not fits:
        raise _Misfit(expected)
    return value


def _numeric(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return inf


def _whole(value: Any) -> int:
    if not _numeric(value):
        raise _Misfit("a number")
    if isinstance(value, Integral):
        return _when(abs(int(value)) < 1 << 63, int(value), "a number of at most 18 digits")  # type: ignore[no-any-return]
    if not isfinite(value) or value != int(value):
        raise _Misfit("a whole number")
    return int(value)


def _real(value: Any) -> Any:
    return _when(_numeric(value) and isfinite(_float(value)), value, "a number")


def _ranged(value: Any, arguments: tuple[Any, ...]) -> Any:
    kind, within = arguments
    if _numeric(value) and value not in within:
        raise _Misfit(within.expected(value))
    return _conform(value, kind)


def _one_of(value: Any, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if value == choice and isinstance(value, bool) == isinstance(choice, bool):
            return choice
    raise _Misfit(" or ".join(f"'{each}'" if isinstance(each, str) else str(each) for each in choices))


def _any_of(value: Any, kinds: tuple[Any, ...]) -> Any:
    """The first kind that fits; where none does, the message has those that a user can write, or
    the range that was missed.
    """
    misfits = []
    for kind in kinds:
        try:
            return _conform(value, kind)
        except _Misfit as misfit:
            misfits.append((kind, str(misfit)))
    if _numeric(value) and (near := [text for kind, text in misfits if _is_number(kind)]):
        raise _Misfit(near[0])
    raise _Misfit(" or ".join(dict.fromkeys(text for kind, text in misfits if kind is not type(None))))


def _several(value: Any, kinds: tuple[Any, ...]) -> Any:
    """A list or tuple; ``tuple[X, Y]`` has as many values as kinds."""
    exact = bool(kinds) and len(kinds) > 1 and kinds[-1] is not Ellipsis
    each = kinds[0] if kinds else Any
    if not isinstance(value, collections.abc.Sequence) or isinstance(value, str | bytes):
        raise _Misfit(f"a list of {_plural(each)}" if not exact else f"a list of {len(kinds)} values")
    if exact and len(value) != len(kinds):
        raise _Misfit(f"a list of {len(kinds)} values")
    wanted = kinds if exact else [each] * len(value)
    try:
        found = [_conform(item, kind) for item, kind in zip(value, wanted, strict=True)]
    except _Misfit as misfit:
        raise _Misfit(f"a list with {misfit} in each place") from None
    return tuple(found) if isinstance(value, tuple) else found


def _table(value: Any, kinds: tuple[Any, ...]) -> Any:
    if not isinstance(value, collections.abc.Mapping):
        raise _Misfit("a table")
    of_key, of_value = kinds or (Any, Any)
    try:
        return {_conform(key, of_key): _conform(item, of_value) for key, item in value.items()}
    except _Misfit as misfit:
        raise _Misfit(f"a table with {misfit} at each key") from None


GENERIC: dict[Any, Callable[[Any, tuple[Any, ...]], Any]] = {
    Annotated: _ranged,
    Literal: _one_of,
    Union: _any_of,
    types.UnionType: _any_of,
    dict: _table,
    collections.abc.Mapping: _table,
    list: _several,
    tuple: _several,
    collections.abc.Sequence: _several,
}
"""What an annotation with arguments takes."""

PLAIN: dict[Any, Callable[[Any], Any]] = {
    Any: lambda value: value,
    type(None): lambda value: _when(value is None, value, "nothing"),
    bool: lambda value: _when(isinstance(value, bool), value, "true or false"),
    int: _whole,
    float: _real,
    str: lambda value: _when(isinstance(value, str) and "\0" not in value, value, "text"),
}
"""What an annotation without takes."""


def _plural(kind: Any) -> str:
    base = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if _choices(base):
        return " and ".join(f"'{each}'" for each in _choices(base))
    return {int: "numbers", float: "numbers", str: "texts", dict: "tables"}.get(base, "values")


def _choices(kind: Any) -> tuple[Any, ...]:
    """Names that an annotation lists."""
    origin = get_origin(kind)
    if origin is Literal:
        return get_args(kind)
    if origin in {Union, types.UnionType}:
        return tuple(choice for each in get_args(kind) for choice in _choices(each))
    return ()


def _is_number(kind: Any) -> bool:
    """Whether an annotation takes a number, alone or among others."""
    if get_origin(kind) is Literal:
        return not all(isinstance(each, str) for each in get_args(kind))
    return kind in {int, float} or any(
        _is_number(each)
        for each in get_args(kind)
        if get_origin(kind) is not Literal and each is not Ellipsis
    )


def shown(value: Any) -> str:
    """A value as a TOML file has it, cut where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        text = value if value.isprintable() and value.strip() == value and value else repr(value)
    elif isinstance(value, tuple):
        text = repr(list(value))
    else:
        text = _represented(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _represented(value: Any) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError):  # an integer of more than 4,300 digits, a list in itself
        return f"a {type(value).__name__}"
