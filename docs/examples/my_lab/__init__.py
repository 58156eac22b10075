"""Components of a laboratory of one's own. Importing the package registers all of them."""

from my_lab import datasets, models, optimizers, schedules, workloads

__all__ = ["datasets", "models", "optimizers", "schedules", "workloads"]
