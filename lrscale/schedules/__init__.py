"""Learning-rate schedules, one file each.

A component is a frozen dataclass with ``factor(step, total)``: what the optimizer's learning
rate is multiplied by at optimizer step ``step`` = 0 … ``total`` − 1. It is a pure function, so
that a resumed run needs nothing but its step, and it never sees the number of processes. Times
are fractions of the run, so that a schedule keeps its shape when the run is made longer: in a
run of 90 epochs, ``every: ${div:30,90}`` is every 30 epochs.

Two methods are optional. ``momentum(step, total)`` is the optimizer's momentum (Adam's β₁) at a
step, or None where the schedule leaves it alone; optimizers whose momentum must not change say
``cycles_momentum = False``. ``monitor()`` returns the monitor of the validation loss that is a
part of the schedule (``lrscale.monitor``); a run's own ``monitor`` goes over any other.
"""
