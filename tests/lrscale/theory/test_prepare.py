from __future__ import annotations

import pytest

from lrscale import theory
from lrscale.config import decode
from lrscale.theory.steps import linear_steps, nonlinear_steps


@pytest.mark.parametrize(
    ("activation", "steps"), [("linear", linear_steps), ("relu", nonlinear_steps)]
)
def test_what_is_forked_afterwards_has_its_steps_compiled(activation, steps):
    config = {"workload": "gd", "dim": 4, "rank": 2, "activation": activation}
    # a scan is left to the run itself
    theory.prepare(decode(config | {"step_size": {"name": "edge"}}))
    assert steps.signatures
