"""Optimizers, one file per family.

A component is a frozen dataclass of the method's parameters with ``build(model)``, which
returns a torch optimizer over the model's parameters; its learning rate is ``lr``, the peak
that a schedule scales. Each uses the fastest of torch's forms that exists on CPU and CUDA and
resumes bit for bit: ``fused`` where there is one (a third of the time for Adam), else torch's
own choice.
"""
