"""Follows the API's stream of changes, and goes on where it was after a lost connection."""

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

from pydantic import ValidationError

from soma_cli.api_responses import AppliedChange, ChangePlace
from soma_cli.client import ApiRefusedError, ApiUnreachableError, SomaClient
from soma_cli.output import say

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0


def follow_changes(
    client: SomaClient, asked: Mapping[str, Any], since: str, pause: Callable[[float], None], random: Random
) -> Iterator[AppliedChange | ChangePlace]:
    """Yield what is applied, and how far everything was told.

    A connection that is lost after it said something is made again, for ever. What was told since the last
    place is told again then.

    Args:
        client: Of the API.
        asked: Of which namespace, and whether to `follow` for ever, as the API names it.
        since: Where to begin.
        pause: Waits for so many seconds.
        random: Spreads those who connect again.

    Raises:
        ApiRefusedError: The API says no, in a way that does not pass.
        ApiUnreachableError: It gave no answer at all.
    """
    place, failures, begun = since, 0, False
    while True:
        try:
            for message in client.changes({**asked, "since": place}):
                if message.event == "change":
                    yield _change(message.data)
                elif message.id:
                    place, begun, failures = message.id, True, 0
                    yield ChangePlace(id=place)
            if not asked.get("follow", True):
                return
            error: str = "the API has ended the stream"
        except (ApiRefusedError, ApiUnreachableError) as problem:
            if not begun or (isinstance(problem, ApiRefusedError) and not problem.retryable):
                raise
            error = str(problem)
        say(f"{error}; connecting again")
        longest = min(_FIRST_PAUSE_SECONDS * 2.0**failures, _LONGEST_PAUSE_SECONDS)
        pause(random.uniform(longest / 2, longest))
        failures = min(failures + 1, 16)


def _change(data: str) -> AppliedChange:
    try:
        return AppliedChange.model_validate_json(data)
    except ValidationError as error:
        raise ApiRefusedError(
            "the stream does not speak as this version of `soma` expects",
            (),
            status=200,
            problem="",
            remedy="check that `soma` and the API are of one version",
        ) from error
