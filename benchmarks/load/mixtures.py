"""The events of a load: how large they are, and how many of them change what is there."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from soma_schemas.producer import NewMemory

_VOCABULARY = (
    "agent answer approve archive budget calendar call change client contract customer deadline "
    "decide delay deploy design draft email error estimate event expense failure feature file fix "
    "goal guide hour idea index invoice issue kitchen launch letter limit list log market meeting "
    "memory merge message metric migration minute model morning night note offer office order owner "
    "page partner password payment plan policy price problem product project proposal quarter "
    "question queue quote reason record release report request result review risk road room rule "
    "schedule search season server service session shift signal source staff step store street "
    "summary supplier support table task team tea test theme ticket topic train travel trend update "
    "user version visit vote wait week window word work worker year "
)
_WORDS = _VOCABULARY.split()


@dataclass(frozen=True)
class Mixture:
    """A kind of load.

    Attributes:
        words: Of the text of a memory, at least and at most.
        again: The share of events that store a memory anew which is there already.
        namespaces: How many there are.
    """

    words: tuple[int, int]
    again: float
    namespaces: int


SHORT = Mixture(words=(12, 36), again=0.0, namespaces=50)
MIDDLE = Mixture(words=(60, 180), again=0.0, namespaces=50)
LONG = Mixture(words=(200, 400), again=0.0, namespaces=50)
CHANGING = Mixture(words=(60, 180), again=0.4, namespaces=50)
# Unlike those: texts of other sizes, fewer changes, more namespaces.
CHECK = Mixture(words=(10, 120), again=0.2, namespaces=400)
# What is read from.
MANY = Mixture(words=(12, 60), again=0.0, namespaces=40)


def namespace_of(mixture: Mixture, name: str, number: int) -> str:
    """Return where a made-up memory lies."""
    return f"load/{name}/{number % mixture.namespaces}"


def key_of(number: int) -> str:
    """Return the key of a made-up memory."""
    return f"memory-{number}"


def memories(mixture: Mixture, count: int, name: str) -> Iterator[NewMemory]:
    """Return so many made-up memories, the same each time for a name."""
    random = Random(name)  # noqa: S311  # the same each time is what is wanted
    fresh = 0
    for _ in range(count):
        old = fresh > 0 and random.random() < mixture.again
        number = random.randrange(fresh) if old else fresh
        fresh += not old
        yield NewMemory(
            namespace=namespace_of(mixture, name, number),
            key=key_of(number),
            text=text(random, random.randint(*mixture.words)),
            payload={"turn": number, "speaker": random.choice(("user", "assistant"))},
            tags=[random.choice(_WORDS) for _ in range(2)],
            importance=round(random.random(), 2),
        )


def text(random: Random, words: int) -> str:
    """Return a sentence of so many words, common ones more often."""
    return " ".join(_WORDS[int(len(_WORDS) * random.random() ** 2)] for _ in range(words))
