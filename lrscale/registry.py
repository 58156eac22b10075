"""The one way a component is found by name.

A component is a dataclass in a file of its own, registered where it is defined:

    @optimizers.register("sgd")
    @dataclass(frozen=True)
    class SGD: ...

Nothing else needs an edit: a registry imports the files of its folder when it is first asked.
Component files import torch only inside the functions that build, so that listing names and
decoding configurations stay fast. A file whose name begins with ``_`` holds no component, and is
not imported: torch modules may stand there.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar

from lrscale.errors import UserError, did_you_mean

Component = TypeVar("Component", bound=type[Any])


class UnknownName(UserError):
    """A name that the registry does not hold; ``hint`` has the nearest that it does."""

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        self.hint = did_you_mean(name, known)
        self.message = f"unknown {kind} '{name}'"
        super().__init__(f"{self.message}: {self.hint}")


class NameTaken(UserError):
    """Two classes want one name."""


class Registry:
    """Names to component classes of one kind, found in one package."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._components: dict[str, type[Any]] = {}
        self._scanned = False

    def register(self, name: str) -> Callable[[Component], Component]:
        """Class decorator. Raises NameTaken when another class has the name."""

        def decorate(component: Component) -> Component:
            other = self._components.get(name)
            if other is not None and _place(other) != _place(component):
                raise NameTaken(
                    f"{self.kind} '{name}' of class {component.__qualname__}: the name is that of "
                    f"{_place(other)}: choose another"
                )
            self._components[name] = component
            return component

        return decorate

    def get(self, name: str) -> type[Any]:
        """The class registered under ``name``. Raises UnknownName.

        Most components are in a file of their name: the others need not be read for them.
        """
        if name not in self._components:
            self._import(name)
        try:
            return self._components[name]
        except KeyError:
            raise UnknownName(self.kind, name, self.names()) from None

    def names(self) -> list[str]:
        """Every registered name, sorted."""
        self._scan()
        return sorted(self._components)

    def name_of(self, component: type[Any]) -> str:
        """The name under which a class is registered. Raises KeyError."""
        for name, known in self._components.items():
            if known is component:
                return name
        raise KeyError(component)

    def _import(self, name: str) -> None:
        """The file of that name, or all of them where none registers it."""
        module = f"{self.package}.{name}"
        if name.isidentifier() and importlib.util.find_spec(module) is not None:
            importlib.import_module(module)
        if name not in self._components:
            self._scan()

    def _scan(self) -> None:
        if self._scanned:
            return
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                importlib.import_module(f"{self.package}.{module.name}")
        self._scanned = True


def _place(component: type[Any]) -> str:
    return f"{component.__module__}.{component.__qualname__}"


optimizers = Registry("optimizer", "lrscale.optim")
schedules = Registry("schedule", "lrscale.schedules")
models = Registry("model", "lrscale.models")
datasets = Registry("dataset", "lrscale.data")
workloads = Registry("workload", "lrscale.workloads")

REGISTRIES = (optimizers, schedules, models, datasets, workloads)
