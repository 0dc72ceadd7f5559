"""Makes methods of calls: what a call takes, its method takes, and nothing is written twice."""

from collections.abc import Callable, Sequence
from inspect import Parameter, Signature, signature
from typing import Any, ParamSpec, Protocol, TypeVar, get_args

from soma_client.call import Call

P = ParamSpec("P")


class Page(Protocol):
    """Some of a list."""

    next_cursor: str | None


PageT = TypeVar("PageT", bound=Page)
ItemT = TypeVar("ItemT")
Items = Callable[[PageT], Sequence[ItemT]]


def described(method: Callable[..., Any], describe: Callable[P, Call[Any]], told: str = "") -> None:
    """Give a method the parameters and the words of what describes its calls.

    Args:
        method: What is called on a client.
        describe: The function that makes its calls.
        told: Instead of the first sentence; empty keeps it.
    """
    own = signature(describe)
    client = Parameter("self", Parameter.POSITIONAL_ONLY)
    method.__name__ = describe.__name__
    first, _, rest = (describe.__doc__ or "").partition("\n")
    method.__doc__ = f"{told or first}\n{rest}"
    (answer,) = get_args(own.return_annotation)
    method.__signature__ = own.replace(  # type: ignore[attr-defined]  # see inspect
        parameters=[client, *own.parameters.values()],
        return_annotation=Signature.empty if told else answer,
    )
