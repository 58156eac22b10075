"""When a run is measured."""

from __future__ import annotations

from collections.abc import Iterator

from lrscale.workloads.gd import GDConfig


def measured_epochs(config: GDConfig) -> list[int]:
    """0, the last epoch, log-spaced ones between them and those of ``record_at``, ascending."""
    spaced = _log_spaced(config.epochs, config.records_per_decade)
    return sorted({0, config.epochs, *spaced, *sharpness_epochs(config)})


def sharpness_epochs(config: GDConfig) -> list[int]:
    """Those of ``measured_epochs`` at which the sharpness is measured too."""
    asked = {k for k in config.record_at if k <= config.epochs}
    if config.sharpness_per_decade:
        spaced = _log_spaced(config.epochs, config.sharpness_per_decade)
        asked |= {0, config.epochs, *spaced}
    return sorted(asked)


def _log_spaced(last: int, per_decade: int) -> Iterator[int]:
    """10^{i / per_decade}, rounded, up to ``last``."""
    number = 0
    while (epoch := round(10 ** (number / per_decade))) <= last:
        yield epoch
        number += 1
