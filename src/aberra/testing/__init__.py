"""Checks that every method passes, ours and yours: a new one gets them by existing.

In a test of your package::

    from aberra.testing import parametrize_with_checks

    @parametrize_with_checks(["my-method", "methods/other.toml"])
    def test_conforms(method, check):
        check(method)

or, without pytest, ``check_method("methods/other.toml")``. A method runs at test size (``[tiny]``
in its TOML file) on phantoms. What it cannot pass it says, with a reason, in its file::

    [conformance]
    # it looks for dark lesions; bright ones are planted without
    lesion = "hypo"
    # and then it must fail it: an exemption that is no longer needed is an error
    xfail = { lesion-is-local = "the reason" }
"""

from aberra.testing.suite import CHECKS, check_method, checks_of, parametrize_with_checks

__all__ = ["CHECKS", "check_method", "checks_of", "parametrize_with_checks"]
