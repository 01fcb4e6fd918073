"""From plain values (a preset, the command line) to objects: the one place where strings become behaviour."""

import functools
import inspect
import operator
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import pydantic

from .. import algorithms, inference
from ..algorithms.contract import AbstractAlgorithm
from ..algorithms.nudging import Nudge
from ..core import coordinates, initialise, lateral, topology
from ..core.activation import ACTIVATIONS, Activation
from ..core.density import DENSITIES, AbstractDensity
from ..core.precision import AbstractPrecision, ScalarPrecision
from ..inference.flow import METHODS
from ..inference.solver import AbstractSolver
from ..registry import exported_classes, find, nearest
from .optimiser import Optimiser

#: Type of an option -> (what it is called, name -> member). An option of another type is a plain value.
CHOICES: dict[Any, tuple[str, Mapping[str, Any]]] = {
    AbstractDensity: ("density", DENSITIES),
    AbstractSolver: (
        "solver",
        {
            n: getattr(inference, n)
            for n in ("Gradient", "Flow", "Newton", "Langevin", "Projected", "Asynchronous", "LCA")
        },
    ),
    inference.Langevin: ("chain", {"Langevin": inference.Langevin}),
    inference.LCA: ("solver", {"LCA": inference.LCA}),
    inference.GaussNewton: ("solver", {"GaussNewton": inference.GaussNewton}),
    initialise.AbstractInitialiser: (
        "initialiser",
        {n: c for n, c in exported_classes(initialise, initialise.AbstractInitialiser).items() if n != "Given"},
    ),
    coordinates.AbstractCoordinates: ("coordinates", exported_classes(coordinates, coordinates.AbstractCoordinates)),
    topology.AbstractTopology: (
        "topology",
        {n: c for n, c in exported_classes(topology, topology.AbstractTopology).items() if n != "Adjacency"},
    ),
    lateral.AbstractLateral | None: ("lateral", exported_classes(lateral, lateral.AbstractLateral)),
    Nudge: ("nudge", {"Nudge": Nudge}),
    float | AbstractPrecision: ("precision", {"ScalarPrecision": ScalarPrecision}),
}
#: Options that code sets and configurations cannot.
NOT_PLAIN = ("optimiser", "key", "inputs", "outputs", "latent", "rests", "terminates", "stochastic", "tau")


#: How a preset or a command line says None to an option that may be None: TOML has no word for it.
NONE = "none"


class ConfigError(ValueError):
    """A configuration that cannot be used; the message says which key, what it must be, what it got."""

    def __str__(self) -> str:
        return str(self.args[0])


def options(member: Callable) -> dict[str, tuple[Any, Any]]:
    """Return name -> (type, default) of what can be set on a class or a function by plain values."""
    function = member.__init__ if inspect.isclass(member) else member
    hints = typing.get_type_hints(function)
    if inspect.isclass(member):
        hints = typing.get_type_hints(member) | hints
    found = {}
    for name, parameter in inspect.signature(member).parameters.items():
        if name not in NOT_PLAIN:
            found[name] = (hints.get(name, parameter.annotation), parameter.default)
    return found


def network_label(options: Mapping[str, Any]) -> str:
    """Return what tables call a network: the builder's name, with the number of weight layers where it is set."""
    name = str(options.get("name")).lower()
    hidden, depth = options.get("hidden"), options.get("depth")
    layers = len(hidden) + 1 if isinstance(hidden, list | tuple) else depth + 1 if isinstance(depth, int) else None
    return name if layers is None or (name, layers) == ("mlp", 4) else f"{name} of {layers} layers"


def construct(
    given: Mapping[str, Any], members: Mapping[str, Callable], kind: str, **more: Any
) -> tuple[Any, dict[str, Any]]:
    """Build the member that `given["name"]` names, with the other entries as its options.

    Arguments:
        given: plain values; an option that is itself an object takes a name or a mapping of its own options.
        members: name -> class or function.
        kind: what the members are, for messages.
        more: arguments that do not come from the configuration (a key, shapes, the weight rule).

    Returns:
        (the object, every option by plain value, defaults included).

    Raises:
        ConfigError: on an unknown name or key (with the nearest match) or a value of the wrong type.
    """
    member, values, plain = resolve(given, members, kind)
    try:
        return member(**values, **more), plain
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{kind} {member.__name__}: {error}") from error


def resolve(
    given: Mapping[str, Any], members: Mapping[str, Callable], kind: str
) -> tuple[Callable, dict[str, Any], dict[str, Any]]:
    """Return (member, its options as objects, every option by plain value) without building; see `construct`."""
    member = find(str(given["name"]), members, kind)
    known = options(member)
    values, plain = {}, {"name": member.__name__}
    for key, value in given.items():
        if key == "name":
            continue
        if key not in known:
            raise ConfigError(f"{kind} {member.__name__} has no option '{key}'. {nearest(key, known)}")
        annotation, default = known[key]
        values[key], plain[key] = _value(annotation, default, value, f"{kind}.{key}")
    for key, (annotation, default) in known.items():
        if key not in plain:
            plain[key] = describe(annotation, default)
    return member, values, plain


def describe(annotation: Any, value: Any) -> Any:
    """Return the plain value that stands for a default object."""
    if callable(value) and _is_activation(annotation):
        return next((name for name, function in ACTIVATIONS.items() if function is value), str(value))
    method = next((name for name, cls in METHODS.items() if type(value) is cls), None)
    if method is not None:
        return method
    if isinstance(value, ScalarPrecision) and not value.learned:
        return value.value
    if isinstance(value, eqx.Module):
        kept = {n: (a, getattr(value, n)) for n, (a, _) in options(type(value)).items() if hasattr(value, n)}
        return {"name": type(value).__name__} | {n: describe(a, v) for n, (a, v) in kept.items()}
    return list(value) if isinstance(value, tuple) else value


def _value(annotation: Any, default: Any, value: Any, path: str) -> tuple[Any, Any]:
    """Return (object, plain value) for one option; "none" stands for None where that is allowed."""
    if value == NONE and type(None) in typing.get_args(annotation):
        return None, None
    if _is_activation(annotation):
        function = find(str(value), ACTIVATIONS, "activation")
        return function, describe(annotation, function)
    if any(isinstance(default, cls) for cls in METHODS.values()):
        method = find(str(value), METHODS, "method")()
        return method, describe(annotation, method)
    if annotation in CHOICES and not (isinstance(value, int | float) and float in typing.get_args(annotation)):
        kind, members = CHOICES[annotation]
        if not isinstance(value, str | Mapping):
            known = ", ".join(members)
            raise ConfigError(f"{path} must be a name or a section of options, got {value!r}. Known: {known}.")
        nested = {"name": value} if isinstance(value, str) else dict(value)
        base = describe(annotation, default) if isinstance(default, eqx.Module) else {}
        if nested.get("name", base.get("name")) == base.get("name"):
            nested = base | nested  # what is not given keeps the default of this option
        return construct(nested, {n.lower(): m for n, m in members.items()}, kind)
    try:
        checked = pydantic.TypeAdapter(_scalars(annotation)).validate_python(value)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{path} {error.errors()[0]['msg'].lower()}, got {value!r}.") from error
    return checked, list(checked) if isinstance(checked, tuple) else checked


def _is_activation(annotation: Any) -> bool:
    return annotation == Activation


def _scalars(annotation: Any) -> Any:
    """Leave the plain members of a union: a rate may be an array in code, but a number in a configuration."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        known = (int, float, bool, str, type(None))
        plain = [a for a in typing.get_args(annotation) if a in known or typing.get_origin(a) is tuple]
        return functools.reduce(operator.or_, plain)
    return annotation


def scheduled_algorithm(given: Mapping[str, Any], optimiser: Optimiser, batches: int) -> AbstractAlgorithm:
    """Return the algorithm of a section, its weight rule scheduled over as many updates as it makes of the batches."""
    members = exported_classes(algorithms, AbstractAlgorithm)
    each = construct(given, members, "algorithm")[0].updates_per_batch()
    return construct(given, members, "algorithm", optimiser=optimiser.build(batches * each))[0]
