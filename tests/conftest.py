"""How tests are spread over cores (``pytest -n auto --dist loadgroup``): a file stays on one
worker, which makes its fixtures once.
"""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Group by file where a test does not say otherwise."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
