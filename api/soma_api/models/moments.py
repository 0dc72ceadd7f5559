"""A time in a query string."""

import re
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator

from soma_schemas.fields import broken
from soma_schemas.violations import ViolationCode

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _spelled(value: object) -> object:
    # pydantic would take a number for seconds since 1970.
    if not isinstance(value, str) or _DAY.match(value) is None:
        raise broken(ViolationCode.WRONG_TYPE, "is not a time as RFC 3339 has it")
    return value


QueryMoment = Annotated[AwareDatetime, BeforeValidator(_spelled)]
