"""Faults to order: what a network and a busy or refusing server do."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field


@dataclass
class Fault:
    """One kind of trouble with one kind of request.

    Attributes:
        operation: regular expression over operation names.
        kind: a status to answer with, the request unheard; ``hang``: no answer until ``clear``;
            ``cut``: the request is carried out and the connection closed amid the answer;
            ``lost``: the connection is closed and the request unheard.
        times: requests that are still to meet it.
        met: requests that have.
    """

    operation: str
    kind: int | str
    times: int
    met: int = 0
    released: threading.Event = field(default_factory=threading.Event)


class Faults:
    """Those that are ordered, and which a request meets."""

    def __init__(self) -> None:
        self._ordered: list[Fault] = []
        self._lock = threading.Lock()

    def order(self, operation: str, kind: int | str, times: int) -> Fault:
        fault = Fault(operation, kind, times)
        with self._lock:
            self._ordered.append(fault)
        return fault

    def meet(self, operation: str) -> Fault | None:
        """The first that applies, used up once more."""
        with self._lock:
            for fault in self._ordered:
                if fault.met < fault.times and re.fullmatch(fault.operation, operation):
                    fault.met += 1
                    return fault
        return None

    def clear(self) -> None:
        """No more of them; requests that hang are let go, unanswered."""
        with self._lock:
            ordered, self._ordered = self._ordered, []
        for fault in ordered:
            fault.released.set()
