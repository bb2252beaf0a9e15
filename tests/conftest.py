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


@pytest.fixture
def fake_gpus(monkeypatch):
    """Torch says that so many GPUs of a capability are there; what is put on one is on the CPU."""
    import torch

    zeros = torch.zeros

    def on_the_cpu(*shape, device=None, **more):
        del device
        return zeros(*shape, **more)

    monkeypatch.setattr(torch, "zeros", on_the_cpu)

    def there(count, capability=(9, 0)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)

    return there
