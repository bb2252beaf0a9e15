"""Runs the checks on methods: as a function, or as parameters of a pytest test."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from aberra.errors import AberraError, ConfigError, unknown
from aberra.files import config_hash
from aberra.method import Method
from aberra.testing.bench import Bench, Subject, phantom_bench
from aberra.testing.checks import ALL, APPLIES, LEARNT

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable
    from pathlib import Path

    from aberra.cohort import Cohort


CHANCE = "by chance: "
"""How the reason of an exception begins that a check may also pass: at test size the rounding of
the processor decides."""


@dataclass(frozen=True)
class Check:
    """One check; call it with a :class:`Subject` or with a method's name or path.

    Examples:
        >>> from aberra.testing import CHECKS
        >>> CHECKS["same-seed-same-map"].summary
        'Two fits of one seed give the same map, bit for bit.'
    """

    function: Callable[[Subject], None]

    @property
    def name(self) -> str:
        """As in ``[conformance] xfail``."""
        return self.function.__name__.replace("_", "-")

    @property
    def summary(self) -> str:
        """What has to hold."""
        return " ".join((self.function.__doc__ or "").split("\n\n")[0].split())

    @property
    def trains(self) -> bool:
        """Whether it needs a whole training at test size, where there is one."""
        return self.function in LEARNT

    def applies(self, subject: Subject) -> bool:
        """Whether it is of this method at all."""
        return self.function not in APPLIES or APPLIES[self.function](subject)

    def __call__(self, method: str | Path | Subject) -> None:
        """Run it.

        Raises:
            AssertionError: it does not hold.
        """
        self.function(method if isinstance(method, Subject) else subject_of(str(method)))


CHECKS = {check.name: check for check in map(Check, ALL)}
"""Name to check, in the order they run."""


def checks_of(subject: Subject) -> dict[Check, str]:
    """The checks of a method, and why it cannot pass them; empty where it has to.

    Raises:
        ConfigError: the method makes an exception of a check that there is not, or that is not of
            it, or gives no reason.
    """
    checks = [check for check in CHECKS.values() if check.applies(subject)]
    xfail = subject.conformance.xfail
    for name, reason in xfail.items():
        if name not in {check.name for check in checks}:
            raise unknown(
                f"check in {subject.full.name}: conformance.xfail:", name, [each.name for each in checks]
            )
        if not reason.strip():
            raise ConfigError(f"{subject.full.name}: conformance.xfail.{name} needs a reason")
    return {check: xfail.get(check.name, "") for check in checks}


def check_method(path_or_name: str | Path, cohort: Cohort | None = None) -> dict[str, str]:
    """Run all checks on a method.

    Args:
        path_or_name: as in ``aberra fit``.
        cohort: eight healthy cases or more, and diseased ones with masks if the method learns from
            them; phantoms without.

    Returns:
        Check to ``passed``, or to the reason why the method cannot pass it.

    Raises:
        AssertionError: lists every check that does not hold, or that holds though the method says
            it cannot.
        ConfigError: the method's file.
    """
    bench = phantom_bench() if cohort is None else Bench(cohort)
    subject = Subject(Method.load(path_or_name), bench)
    outcome, failed = {}, []
    for check, reason in checks_of(subject).items():
        try:
            check(subject)
        except (AssertionError, AberraError) as error:
            outcome[check.name] = reason
            if not reason:
                failed.append(f"{check.name}: {error}")
        else:
            outcome[check.name] = "passed"
            if reason and not reason.startswith(CHANCE):
                failed.append(f"{check.name}: holds; take it out of [conformance] xfail ({reason})")
    if failed:
        raise AssertionError("\n".join([f"{path_or_name}: {len(failed)} check(s) failed", *failed]))
    return outcome


def parametrize_with_checks(methods: Iterable[str | Path], *, slow: Container[str] = ()) -> Any:
    """Parametrise a pytest test ``(method, check)`` with all checks of all methods, exceptions as
    xfails, strict but for those by :data:`CHANCE`.

    Args:
        methods: names or paths.
        slow: names of methods whose training at test size is too long for every run: the checks that
            need it are marked ``slow``.

    Raises:
        ConfigError: a method's file.
    """
    import pytest

    cases = []
    for method in methods:
        subject = subject_of(str(method))
        marks: list[Any] = []
        if find_spec("xdist"):  # what learns the same is trained once, so it stays on one worker
            marks.append(pytest.mark.xdist_group(config_hash(subject.method.learnt)))
        for check, reason in checks_of(subject).items():
            expected = (AssertionError, AberraError)
            strict = not reason.startswith(CHANCE)
            xfail = [pytest.mark.xfail(reason=reason, strict=strict, raises=expected)] if reason else []
            long = [pytest.mark.slow] if check.trains and subject.full.name in slow else []
            name = f"{subject.full.name}-{check.name}"
            cases.append(pytest.param(str(method), check, marks=[*marks, *xfail, *long], id=name))
    return pytest.mark.parametrize(("method", "check"), cases)


@cache
def subject_of(method: str) -> Subject:
    """The one subject of a method on phantoms, so that its checks share what was fitted and
    analysed.
    """
    return Subject(Method.load(method), phantom_bench())
