"""All that aberra asks of its own methods."""

from aberra.testing import parametrize_with_checks


@parametrize_with_checks(["funnel"])
def test_conforms(method, check):
    check(method)
