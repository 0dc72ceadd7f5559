"""The API does what its own description says, whatever it is sent."""

from typing import Any

import schemathesis
from hypothesis import settings
from schemathesis import Case
from schemathesis.checks import CHECKS, load_all_checks

from soma_api.application import api_document

schema = schemathesis.openapi.from_dict(api_document())

load_all_checks()
NOT_ASKED: Any = [
    # A schema cannot say all that the contract asks: namespaces, fields that exclude each other.
    CHECKS.get_one("positive_data_acceptance"),
    # A position that is not visible in time is 503 by design; a 500 is looked for below.
    CHECKS.get_one("not_a_server_error"),
]


@schema.parametrize()
@settings(max_examples=25)
def test_every_answer_is_one_that_the_description_has(case: Case[Any], served: Any) -> None:
    answer = case.call_and_validate(
        base_url=served.url,
        headers={"Authorization": f"Bearer {served.key.reveal()}"},
        excluded_checks=NOT_ASKED,
    )

    assert answer.status_code != 500
