"""Every catalogue entry passes the same checks; a new method gets them by existing."""

from __future__ import annotations

from aberra.method import Method, catalogue
from aberra.testing import parametrize_with_checks

TRAINED = ("ae", "cradl", "dae", "fpi", "synthetic-lesions", "vae")
"""Of these even every run asks whether they find the lesion; of the others `scripts/test -m slow`
does. Methods that do not train are always asked."""

SLOW = [name for name in catalogue() if name not in TRAINED and Method.load(name).training]


@parametrize_with_checks(catalogue(), slow=SLOW)
def test_conforms(method, check):
    check(method)
