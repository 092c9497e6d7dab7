"""A parameter that is one of several named choices, each with parameters of its own.

Methods and detectors are variants: a family is a base class with a package, a choice is
one file in it, its name is its module's name. There is no registry and no decorator; a
module's path (``my_module``, ``my_package.my_module``) finds a choice outside.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from typing import Any, ClassVar, Self

from pydantic import (
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from pipeline.parameters import Parameters
from pipeline.wording import suggest
from storage_schemas.errors import ParameterError, StageDefinitionError


class Variant(Parameters):
    """Base of a family of named choices.

    A family sets `package`; a choice gives its ``version`` as a class argument. `carried`
    names parameters that a recipe sets for whichever choice a user then makes. Declare
    the field as ``SerializeAsAny[Family]`` with a ``BeforeValidator(Family.choose)``: a
    field typed with the bare base class would drop the choice's own parameters from the
    key, so that two choices shared one.
    """

    package: ClassVar[str]
    carried: ClassVar[frozenset[str]] = frozenset()
    name: ClassVar[str]
    version: ClassVar[int]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__()  # class arguments are read by the pydantic hook below

    @classmethod
    def __pydantic_init_subclass__(cls, *, version: int | None = None, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.name = cls.__module__.rpartition(".")[2]
        if version is not None:
            cls.version = version
        elif not hasattr(cls, "version") and "package" not in vars(cls):
            raise StageDefinitionError(
                f"{cls.__qualname__} needs a version: class {cls.__name__}(..., version=1)"
            )

    @classmethod
    def family(cls) -> type[Variant]:
        """The base class that this is a choice of; a kind between them is no family."""
        return [base for base in cls.__mro__ if "package" in vars(base)][-1]

    @classmethod
    def choose(cls, value: Any) -> Any:
        """Turn a name, a dotted path or ``{"name": ..., parameters...}`` into a choice."""
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict) or "name" not in value:
            raise ParameterError(f"{value!r} names no {cls.__name__}; give one of {cls.names()}")
        parameters = dict(value)
        choice = cls.find(parameters.pop("name"))
        parameters.pop("version", None)
        return choice(**parameters)

    @classmethod
    def names(cls) -> list[str]:
        """Names of the choices that the family's package holds."""
        package = importlib.import_module(cls.package)
        return sorted(m.name for m in pkgutil.iter_modules(package.__path__))

    @classmethod
    def find(cls, name: str) -> type[Self]:
        """The class behind a name or dotted path; raises `ParameterError` with the nearest."""
        if name in cls.names():
            path = f"{cls.package}.{name}"
        elif "." in name or importlib.util.find_spec(name) is not None:
            path = name
        else:
            kind = cls.__name__.lower()
            raise ParameterError(f"no {kind} is named {name!r}; {suggest(name, cls.names())}")
        try:
            module = importlib.import_module(path)
        except ModuleNotFoundError as error:
            raise ParameterError(f"{path!r} cannot be imported: {error}") from error
        found = [
            member
            for _, member in inspect.getmembers(module, inspect.isclass)
            if issubclass(member, cls) and member.__module__ == module.__name__
        ]
        if len(found) != 1:
            raise StageDefinitionError(
                f"{path} must define exactly one {cls.__name__}, it defines "
                f"{[c.__name__ for c in found]}"
            )
        return found[0]

    def choice(self) -> str:
        """Its name; outside of the family's package the path of its module."""
        module = type(self).__module__
        outside = module.rpartition(".")[0] != self.package
        return module if outside else self.name

    @model_serializer(mode="wrap")
    def _with_identity(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        return {"name": self.choice(), "version": self.version, **handler(self)}
