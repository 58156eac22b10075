"""Full-batch gradient descent on deep networks, beside the theory of its convergence."""

from lrscale.theory.loop import prepare, run, run_together

__all__ = ["prepare", "run", "run_together"]
