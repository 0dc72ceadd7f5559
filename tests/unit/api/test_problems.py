import json

import pytest

from soma_api import problems
from soma_api.problems import (
    ApiError,
    FieldError,
    InvalidInputError,
    NotYetVisibleError,
    Problem,
    ProblemCode,
    Source,
    problem_response,
)
from soma_schemas.violations import ViolationCode

ERRORS = [
    each
    for each in vars(problems).values()
    if isinstance(each, type) and issubclass(each, ApiError) and each is not ApiError
]


def test_every_code_has_exactly_one_error() -> None:
    assert sorted(error.problem for error in ERRORS) == sorted(ProblemCode)


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_is_rendered_as_its_description_says(error: type[ApiError]) -> None:
    answer = problem_response(error("it happened"), "r-1")

    problem = Problem.model_validate_json(bytes(answer.body))
    assert answer.media_type == "application/problem+json"
    assert (problem.status, problem.code, problem.detail) == (
        answer.status_code,
        error.problem,
        "it happened",
    )
    assert problem.type.endswith("/" + error.problem)
    assert problem.request_id == "r-1"


@pytest.mark.parametrize("error", ERRORS)
def test_what_is_worth_trying_again_says_when(error: type[ApiError]) -> None:
    answer = problem_response(error("it happened"), "r-1")

    assert ("retry-after" in answer.headers) is error.retryable


@pytest.mark.parametrize("error", ERRORS)
def test_only_what_may_pass_by_itself_is_retryable(error: type[ApiError]) -> None:
    assert error.retryable is (error.status in {408, 429, 503})


def test_faults_are_listed_with_their_place() -> None:
    field_error = FieldError(source=Source.BODY, path="/text", code=ViolationCode.EMPTY, message="is empty")

    problem = json.loads(bytes(problem_response(InvalidInputError("wrong", errors=[field_error]), "r").body))

    assert problem["errors"] == [{"source": "body", "path": "/text", "code": "empty", "message": "is empty"}]


def test_an_error_without_faults_lists_none() -> None:
    assert b"errors" not in bytes(problem_response(NotYetVisibleError("not yet"), "r").body)
