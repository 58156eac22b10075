"""Workloads, one file each: a model on a dataset, with loss, metric, target and budget.

A workload is a class with these class attributes, and is instantiated without arguments:

- ``schema``: the dataclass that a run's configuration is decoded to;
- ``runner``: the module whose ``run`` carries a run out;
- ``defaults``: what a configuration that gives the workload's name alone is filled with;
- ``metric`` and ``direction`` (``max`` or ``min``): what runs are compared by;
- ``target``: values of that metric that a tuned run reaches, such as
  ``{"val_accuracy": 0.98}``;
- ``budget``: ``{"epochs": …, "minutes": …}``, the most that a comparison grants a run;
- ``also``: further metrics that tables show beside it; none unless given;
- ``likelihood``: the predictive distribution whose negative logarithm the loss is, for optimizers
  that need the Fisher: ``categorical`` (logits and labels), ``bernoulli`` (logits) or
  ``gaussian`` (½ squared error), summed over an example's outputs.

Its methods: ``loss(outputs, targets)``, the mean that is minimised; ``sums(outputs, targets)``, by
name what is summed over a split, in float64; where a metric is no mean of these, such as F1,
``metrics(sums, examples)``, which makes the metrics of the sums over the whole split; and where
outputs are a choice among classes, ``answers(outputs)``, which is kept of the test set. Metrics
whose names end in ``accuracy`` or ``f1`` are shown in per cent.
"""
