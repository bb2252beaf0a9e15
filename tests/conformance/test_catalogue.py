"""Every catalogue entry passes the same checks; a new method gets them by existing."""

from __future__ import annotations

from aberra.method import catalogue
from aberra.testing import parametrize_with_checks


@parametrize_with_checks(catalogue())
def test_conforms(method, check):
    check(method)
