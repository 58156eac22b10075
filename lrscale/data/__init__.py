"""Datasets, one file each.

A component is a frozen dataclass that says which data a run sees:

- ``title``: how every table and figure names it;
- ``locate()``: finds it, without torch, and returns its fingerprint; raises UserError saying
  where it looked and how to get it. A submission writes the fingerprint into the run's
  configuration, so that other data under the same name is another run;
- ``train_size()``: number of training examples, known without reading them;
- ``open(device)``: reads it into a ``Source`` of batches;
- ``inputs``: ``"tokens"`` where these are texts; models that read something else are refused;
- ``reference()``, where there is one: a ``Reference``, what a method without a network reaches on
  the same splits; reports show it beneath every table.

Validation and test are apart from training by a fixed rule (``holdout``), the same in every run.
"""
