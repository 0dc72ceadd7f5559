"""Runs checks all at once, none of them for longer than its bound, and puts what they say into findings."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from soma_cli.diagnosis.findings import Examination, Finding, Health, Verdict, findings
from soma_schemas.errors import SomaError

CHECK_SECONDS = 10.0


class Check(NamedTuple):
    """One check.

    Attributes:
        name: What people call it.
        looked_at: An address, a folder, or whatever is looked at.
        look: Looks. A SomaError that it raises is a finding.
        silent: What to do when it does not end.
    """

    name: str
    looked_at: str
    look: Callable[[], Awaitable[Sequence[Verdict]]]
    silent: str


async def examine(
    checks: Sequence[Check],
    under_way: Callable[[Sequence[str]], None],
    bound_seconds: float = CHECK_SECONDS,
) -> Examination:
    """Return what all checks found, in their order.

    Args:
        checks: What to look at.
        under_way: Hears the names of those that have not ended, whenever one ends.
        bound_seconds: How long one may take.
    """
    waiting = [check.name for check in checks]

    async def ended(check: Check) -> list[Finding]:
        found = await _looked(check, bound_seconds)
        waiting.remove(check.name)
        under_way(tuple(dict.fromkeys(waiting)))
        return found

    under_way(tuple(dict.fromkeys(waiting)))
    found = await asyncio.gather(*(ended(check) for check in checks))
    return Examination(findings=[each for some in found for each in some])


async def _looked(check: Check, bound_seconds: float) -> list[Finding]:
    try:
        async with asyncio.timeout(bound_seconds):
            verdicts = await check.look()
    except TimeoutError:
        verdicts = [Verdict(Health.FAILED, f"no answer within {bound_seconds:g} s", check.silent)]
    except SomaError as error:
        verdicts = [Verdict(Health.FAILED, str(error), error.remedy or check.silent)]
    except Exception as error:  # noqa: BLE001  # one check that breaks does not take the others with it
        # Its text may quote what it was given.
        verdicts = [Verdict(Health.FAILED, f"unexpected {type(error).__name__}", check.silent)]
    return findings(check.name, check.looked_at, verdicts)
