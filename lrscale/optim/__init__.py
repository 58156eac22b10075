"""Optimizers, one file per family.

A component is a frozen dataclass of the method's parameters with ``build(model)``, which
returns a torch optimizer over the model's parameters; its learning rate is ``lr``, the peak
that a schedule scales. Each uses the fastest of torch's forms that exists on CPU and CUDA and
resumes bit for bit: ``fused`` where there is one (a third of the time for Adam), else torch's
own choice. Methods that torch has not are from the packages pytorch-optimizer, schedulefree and
prodigyopt, or our own in ``own`` and ``curvature`` where those depart from the paper or do not
exist.

``weight_decay`` stands in the optimizer's parameter groups: ``decay_norms_and_biases: false`` of a
run splits them after ``build``, whatever the optimizer. An optimizer with ``eval()`` and
``train()`` (Schedule-Free) is built in training mode; evaluations turn it (``train/averaged.py``).

An optimizer that needs more than gradients has a method

    observe(micro_batch: lrscale.optim.micro_batch.MicroBatch) -> None

which the training step calls between the forward and the backward pass of each micro-batch, on
every rank: it sees inputs, outputs with their graph, and the loss; it may take gradients of its
own (K-FAC, for labels that it samples) or keep the batch for products with the curvature in
``step`` (natural gradient). ``zero_grad`` begins a step and forgets what was observed; under
fp16, where gradients that overflowed are dropped, ``step`` may not follow.

An optimizer about which the user should know something that depends on the model (which layers
it leaves to another method) has ``remarks``, a list of sentences: they are printed once, and
stand in the run's summary.
"""
