"""All checks run at once, each has its bound, and one that breaks takes no other with it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import pytest

from soma_cli.diagnosis.examination import Check, examine
from soma_cli.diagnosis.findings import Examination, Health, Verdict, ok
from soma_cli.tasks import in_thread
from soma_schemas.errors import MismatchError


async def well() -> Sequence[Verdict]:
    return [ok("fine")]


async def breaks() -> Sequence[Verdict]:
    raise KeyError("the password is hush")


async def mismatches() -> Sequence[Verdict]:
    raise MismatchError("it is not as declared", remedy="make it so")


def a_check(name: str, look: Callable[[], Awaitable[Sequence[Verdict]]]) -> Check:
    return Check(name, "there", look, f"start {name}")


def examined(*checks: Check, bound_seconds: float = 30.0) -> Examination:
    return asyncio.run(examine(checks, lambda _names: None, bound_seconds))


def test_findings_stand_in_the_order_of_the_checks() -> None:
    found = examined(a_check("one", mismatches), a_check("two", well))

    assert [(each.check, each.health, each.remedy) for each in found.findings] == [
        ("one", Health.FAILED, "make it so"),
        ("two", Health.OK, None),
    ]
    assert found.failed() == ["one"]


@pytest.mark.parametrize("within_a_thread", [False, True])
def test_what_hangs_is_a_finding_with_what_to_do(*, within_a_thread: bool) -> None:
    let_go = threading.Event()

    async def hangs() -> Sequence[Verdict]:
        if within_a_thread:
            await in_thread(partial(let_go.wait))
        return await asyncio.Event().wait()  # type: ignore[return-value]  # it never ends

    found = examined(a_check("brokers", hangs), a_check("api", well), bound_seconds=0.05)
    let_go.set()

    assert [(each.health, each.found, each.remedy) for each in found.findings] == [
        (Health.FAILED, "no answer within 0.05 s", "start brokers"),
        (Health.OK, "fine", None),
    ]


def test_an_error_that_nobody_foresaw_is_named_and_not_quoted() -> None:
    (found,) = examined(a_check("database", breaks)).findings

    assert (found.found, found.remedy) == ("unexpected KeyError", "start database")


def test_whoever_waits_hears_what_is_still_looked_at() -> None:
    heard: list[tuple[str, ...]] = []
    checks = [a_check("one", well), a_check("two", well), a_check("two", well)]

    asyncio.run(examine(checks, lambda names: heard.append(tuple(names))))

    assert heard == [("one", "two"), ("two",), ("two",), ()]
