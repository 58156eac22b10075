"""Full-batch gradient descent on deep networks, beside the theory of its convergence."""

from lrscale.theory.loop import run, run_together

__all__ = ["run", "run_together"]
