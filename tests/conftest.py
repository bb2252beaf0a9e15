"""How tests are spread over cores (``pytest -n auto --dist loadgroup``): a file stays on one
worker, which makes its fixtures once, and files that run the command line come first
(``--no-loadscope-reorder`` in ``scripts/test`` keeps that order): few tests, some of which take
minutes. Last, they would leave the other workers without work.
"""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Group by file where a test does not say otherwise; put the long ones first."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
    if hasattr(config, "workerinput"):  # of a worker
        items.sort(key=lambda item: item.get_closest_marker("e2e") is None)
