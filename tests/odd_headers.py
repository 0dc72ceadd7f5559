"""Writes headers whose names are any bytes: clients take text, brokers take everything."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]  # aiokafka ships no types
from aiokafka.producer import message_accumulator  # type: ignore[import-untyped]  # likewise
from aiokafka.producer import producer as producing  # likewise
from aiokafka.record.default_records import (  # type: ignore[import-untyped]  # likewise
    _DefaultRecordBatchBuilderPy,
)


class Name(str):
    """A header's name with bytes of its own."""

    __slots__ = ("raw",)
    raw: bytes

    def encode(self, *_: Any) -> bytes:
        """Return them."""
        return self.raw


def name_of(raw: bytes) -> Name:
    """A name that is written as these bytes by what aiokafka has in Python."""
    name = Name("name")
    name.raw = raw
    return name


@asynccontextmanager
async def odd_producer(bootstrap: str, **config: Any) -> AsyncIterator[AIOKafkaProducer]:
    """A producer that takes such names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(producing, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
        patch.setattr(message_accumulator, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, **config) as producer:
            yield producer
