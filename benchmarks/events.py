"""The events of all measurements: made up from a seed, 600 to 900 bytes each, the same in every run."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from random import Random
from string import ascii_lowercase
from uuid import UUID

from soma_schemas.events import MemoryStored
from soma_schemas.fields import Kind
from soma_schemas.identity import identified

TENANT = "bench"
SEED = 20261123
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_WORDS = 4000
_PHRASES = 3000
# Every tenth event is about a memory that is there already.
_REPLACES = 0.1


def made_up_events(count: int, seed: int = SEED) -> Iterator[MemoryStored]:
    """Yield valid events; memories are replaced now and then, and some fields are null now and then."""
    random = Random(seed)  # noqa: S311  # repeatable is what is wanted
    words = ["".join(random.choices(ascii_lowercase, k=random.randint(3, 9))) for _ in range(_WORDS)]
    common = list(accumulate(1 / (rank + 10) for rank in range(_WORDS)))
    phrases = [" ".join(random.choices(words, cum_weights=common, k=9)) for _ in range(_PHRASES)]
    labels = [f"label-{number}" for number in range(30)]
    keys = 0
    for number in range(count):
        at = _BEGIN + timedelta(milliseconds=37 * number, microseconds=random.randrange(1000))
        if keys and random.random() < _REPLACES:
            key = f"conversation/{random.randrange(keys)}"
        else:
            key = f"conversation/{keys}"
            keys += 1
        namespace = f"team-{int(key[13:]) % 40}/assistant/notes"
        text = ". ".join(random.choices(phrases, k=random.randint(6, 8)))
        named = identified(TENANT, namespace, key, None)
        if named is None:
            raise ValueError("a key names a memory")
        payload = {
            "source": random.choice(["chat", "mail", "ticket"]),
            "turn": number,
            "score": round(random.random(), 4),
            "about": random.choices(words, k=3),
        }
        yield MemoryStored(
            event_id=UUID(int=random.getrandbits(128), version=4),
            tenant=TENANT,
            occurred_at=at,
            actor=f"assistant-{number % 12}",
            namespace=namespace,
            memory_id=named,
            key=key,
            coordinate=None,
            kind=Kind.EPISODIC if number % 3 else Kind.SEMANTIC,
            text=text,
            payload=json.dumps(payload),
            tags=random.sample(labels, random.randint(1, 4)),
            importance=round(random.random(), 3),
            embedding=None,
            embedding_model=None,
            subject=f"person-{number % 500}" if number % 4 else None,
            expires_at=at + timedelta(days=90) if number % 5 == 0 else None,
            expected_version=None,
        )
