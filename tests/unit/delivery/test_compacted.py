"""Every record of a compacted topic reaches its one outcome, whatever it holds and whatever fails."""

from collections.abc import Callable, Sequence
from random import Random

import psycopg
import pytest

from builders import WRITER_SCHEMAS, a_record, encoded, policy_set, stored
from fakes import FakeClock, RecordedDeadLetters
from soma_schemas.errors import MismatchError
from soma_schemas.events import RetentionPolicySet
from soma_schemas.limits import DEFAULT_LIMITS
from soma_schemas.outcomes import Outcome
from soma_schemas.versions import pack_version
from soma_streams.checks import Waiting
from soma_streams.delivery.compacted import Statement, StatementSettler
from soma_streams.delivery.decode import RecordReader
from soma_streams.delivery.flood import FloodGuard
from soma_streams.delivery.retry import Retry
from soma_streams.delivery.settle import Settled
from soma_streams.delivery.state import Watermark
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.errors import PoisonError
from soma_streams.settings import DeliverySettings, RetrySettings
from soma_streams.transport.records import Record, RecordBatch

TEAM, ALL = policy_set("team"), policy_set()


class KnownSchemas:
    async def fetch(self, ids: set[int]) -> dict[int, WriterSchema]:
        return {number: WRITER_SCHEMAS[number] for number in ids if number in WRITER_SCHEMAS}


class Table:
    """A sink in memory, which refuses what it is told to."""

    group = "test-policies"

    def __init__(self, refuses: Callable[[Statement[RetentionPolicySet]], bool] = lambda _: False) -> None:
        self.statements: list[Statement[RetentionPolicySet]] = []
        self.watermarks: list[int] = []
        self.outages: list[Exception] = []
        self.mismatch: MismatchError | None = None
        self._refuses = refuses

    async def check(self) -> None:
        if self.mismatch is not None:
            raise self.mismatch

    async def write(self, statements: Sequence[Statement[RetentionPolicySet]], watermark: Watermark) -> int:
        if self.outages:
            raise self.outages.pop(0)
        if any(map(self._refuses, statements)):
            raise PoisonError("refused")
        new = [each for each in statements if each.version >= (1 << 40) + max(self.watermarks, default=0)]
        self.statements += new
        self.watermarks.append(watermark.next_offset)
        return len(new)


class Setting:
    """A settler and everything around it."""

    def __init__(self, table: Table) -> None:
        clock = FakeClock()
        self.table = table
        self.letters = RecordedDeadLetters()
        self.settler = StatementSettler(
            sink=table,
            reader=RecordReader([RetentionPolicySet], DEFAULT_LIMITS),
            schemas=KnownSchemas(),
            dead_letters=self.letters,
            retry=Retry(RetrySettings.model_validate({}), clock, Random(7), Waiting()),
            clock=clock,
            flood=FloodGuard(DeliverySettings.model_validate({})),
            epoch=1,
        )

    async def settle(self, records: Sequence[Record]) -> Settled:
        return await self.settler.settle(RecordBatch.of(("memory.policies", 0), records, None))

    @property
    def said(self) -> list[tuple[str, str, RetentionPolicySet | None]]:
        return [(each.tenant, each.name, each.said) for each in self.table.statements]


def a_statement(policy: RetentionPolicySet, offset: int = 0, key: bytes | None = None) -> Record:
    return a_record(encoded(policy), offset, key=policy.log_key() if key is None else key)


def a_tombstone(key: bytes | None, offset: int = 0) -> Record:
    return a_record(None, offset, key=key)


async def test_what_is_said_and_what_is_lifted_reach_the_sink_in_order() -> None:
    setting = Setting(Table())

    settled = await setting.settle([a_statement(TEAM), a_statement(ALL, 1), a_tombstone(b"acme/team", 2)])

    assert setting.said == [("acme", "team", TEAM), ("acme", "", ALL), ("acme", "team", None)]
    assert [each.version for each in setting.table.statements] == [pack_version(1, each) for each in range(3)]
    assert settled.outcomes == {Outcome.APPLIED: 3, Outcome.SUPERSEDED: 0, Outcome.DEAD_LETTERED: 0}
    assert settled.next_offset == setting.table.watermarks[-1] == 3


async def test_what_comes_again_is_superseded() -> None:
    setting = Setting(Table())
    records = [a_statement(TEAM), a_tombstone(b"acme/team", 1)]
    await setting.settle(records)

    again = await setting.settle(records)

    assert again.outcomes[Outcome.SUPERSEDED] == 2
    assert len(setting.said) == 2


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (a_record(b"none", 1, key=b"acme/team"), "not_wire_format"),
        (a_record(stored(key="a"), 1), "unexpected_record"),
        (a_record(encoded(TEAM) + b"x", 1, key=b"acme/team"), "trailing_bytes"),
        (a_statement(TEAM, 1, key=b"acme/another"), "key_mismatch"),
        (a_tombstone(None, 1), "key_mismatch"),
        (a_tombstone(b"acme", 1), "key_mismatch"),
        (a_tombstone(b"No Tenant/team", 1), "key_mismatch"),
        (a_tombstone(b"\xff/team", 1), "key_mismatch"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_what_can_never_hold_is_a_dead_letter_and_keeps_nothing_up(record: Record, code: str) -> None:
    setting = Setting(Table())

    settled = await setting.settle([a_statement(TEAM), record, a_statement(ALL, 2)])

    assert [letter.code for letter in setting.letters.letters] == [code]
    assert [said for _, _, said in setting.said] == [TEAM, ALL]
    assert settled.outcomes[Outcome.DEAD_LETTERED] == 1
    assert sum(settled.dead_letters.values()) == 1


async def test_what_the_store_refuses_is_found_among_the_others() -> None:
    setting = Setting(Table(lambda each: each.name == "bad"))
    records = [a_tombstone(f"acme/{name}".encode(), at) for at, name in enumerate(["a", "bad", "b", "c"])]

    settled = await setting.settle(records)

    assert [name for _, name, _ in setting.said] == ["a", "b", "c"]
    assert [letter.record.offset for letter in setting.letters.letters] == [1]
    assert settled.outcomes == {Outcome.APPLIED: 3, Outcome.SUPERSEDED: 0, Outcome.DEAD_LETTERED: 1}
    assert setting.table.watermarks == sorted(setting.table.watermarks)
    assert setting.table.watermarks[-1] == 4


async def test_a_store_that_is_away_is_waited_for() -> None:
    setting = Setting(Table())
    setting.table.outages = [psycopg.OperationalError("connection lost"), TimeoutError()]

    await setting.settle([a_statement(TEAM)])

    assert setting.said == [("acme", "team", TEAM)]
    assert setting.letters.letters == []


async def test_a_store_that_somebody_has_changed_ends_the_work_and_blames_nobody() -> None:
    setting = Setting(Table(lambda _: True))
    setting.table.mismatch = MismatchError("the tables are not as the migrations made them")

    with pytest.raises(MismatchError):
        await setting.settle([a_statement(TEAM)])

    assert setting.letters.letters == []
