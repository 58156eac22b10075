"""Training on minibatches: runs that end, diverge, or stop and go on bit for bit."""

from lrscale.train.loop import run

__all__ = ["run"]
