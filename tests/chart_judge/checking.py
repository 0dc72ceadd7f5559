"""A rule looks at objects and tells of each thing that it looked at whether it is as it has to be."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from chart_judge.rendered import Rendered


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `fault` is None where it is well."""

    about: str
    fault: str | None


Rule = Callable[[Rendered], Iterable[Check]]
RULES: dict[str, Rule] = {}


def rule(function: Rule) -> Rule:
    """Count a function among the rules, under its name in words."""
    RULES[function.__name__.replace("_", " ")] = function
    return function


def check(about: str, well: object, fault: str) -> Check:
    """Return a check that is well if `well` is true."""
    return Check(about, None if well else fault)


def faults(rendered: Rendered) -> dict[str, list[Check]]:
    """Return for each rule that is broken what breaks it."""
    broken = {name: [each for each in of(rendered) if each.fault is not None] for name, of in RULES.items()}
    return {name: found for name, found in broken.items() if found}
