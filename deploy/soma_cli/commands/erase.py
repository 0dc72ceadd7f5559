"""`soma erase`: have memories erased with proof, and check the proof."""

from pathlib import Path
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import typer

from soma_cli.commands.options import ApiKey, AsJson, Url, open_client
from soma_cli.drawing import show_answer
from soma_cli.erasures import Checked, NotErased, write_receipt
from soma_cli.output import say, show
from soma_client import SomaClient
from soma_schemas.clock import SystemClock
from soma_schemas.errors import SomaError
from soma_schemas.responses.erasure_responses import ErasureStateView, ErasureView

app = typer.Typer(
    help="Have memories erased with proof, and check the proof.", no_args_is_help=True, add_completion=False
)

_LOOK_AGAIN_SECONDS = 0.5

Yes = Annotated[bool, typer.Option("--yes", help="Do it. Without, say only what would be done.")]
Patience = Annotated[
    int,
    typer.Option(
        "--wait",
        min=0,
        max=3600,
        help="Seconds to wait for the receipt; 0 returns once reads have stopped.",
        metavar="SECONDS",
    ),
]
ToReceipt = Annotated[
    Path | None,
    typer.Option("--receipt", help="Write the receipt to this file.", metavar="FILE", show_default=False),
]


class UnfinishedError(SomaError):
    """An erasure goes on, and the command waits no longer."""

    code = "erasure_unfinished"


def _memory_id(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a valid UUID.") from None


class _Scope(NamedTuple):
    """What can be erased: a command of its own, each with the same options.

    Attributes:
        field: Names it in a request.
        argument: What it is called by on the command line.
        told: What erasing it does.
    """

    field: str
    argument: Any
    told: str


_SCOPES = {
    "subject": _Scope(
        "subject",
        typer.Argument(help="The subject, as memories name it.", metavar="SUBJECT"),
        "Erase all memories about a person, and what memories said while they were about them.",
    ),
    "memory": _Scope(
        "memory_id",
        typer.Argument(help="Id of the memory.", metavar="ID", parser=_memory_id),
        "Erase one memory with its history; also one that was deleted before.",
    ),
    "namespace": _Scope(
        "namespace",
        typer.Argument(help="The namespace.", metavar="NAMESPACE"),
        "Erase a namespace and all below it.",
    ),
    "tenant": _Scope(
        "tenant",
        typer.Argument(help="The tenant of the API key.", metavar="TENANT"),
        "Erase everything of a tenant.",
    ),
}


def _add(name: str, scope: _Scope) -> None:
    @app.command(name, help=scope.told)
    def erase(
        context: typer.Context,
        which: Annotated[str, scope.argument],
        *,
        yes: Yes = False,
        wait: Patience = 60,
        receipt: ToReceipt = None,
        url: Url = None,
        api_key: ApiKey = None,
        as_json: AsJson = False,
    ) -> None:
        if not yes:
            show(NotErased(what=scope.field, which=which), as_json=as_json)
            say("Nothing was erased. It cannot be undone: add --yes to do it.")
            return
        with open_client(context, url, api_key) as client:
            wanted: dict[str, Any] = {scope.field: which}
            erasure = client.request_erasure(**wanted)
            _tell(client, erasure, wait, receipt, as_json=as_json)


for _name, _scope in _SCOPES.items():
    _add(_name, _scope)


@app.command("show")
def show_(
    context: typer.Context,
    request_id: Annotated[UUID, typer.Argument(help="Id of the request.", metavar="ID")],
    *,
    wait: Patience = 0,
    receipt: ToReceipt = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show how far an erasure is, and its receipt once it is complete."""
    with open_client(context, url, api_key) as client:
        _tell(client, client.read_erasure(request_id), wait, receipt, as_json=as_json)


@app.command("list")
def list_(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Maximum number of results.")] = 20,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List erasures, newest first."""
    with open_client(context, url, api_key) as client:
        show_answer(client.list_erasures(limit=limit), as_json=as_json)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The receipt.", metavar="RECEIPT")],
    *,
    key: Annotated[
        Path, typer.Option("--key", help="PEM file of the public key that signed it.", metavar="PUBLIC")
    ],
    as_json: AsJson = False,
) -> None:
    """Check a receipt with the public key of whoever signed it; asks no service."""
    show(Checked.of(file, key), as_json=as_json)


def _tell(
    client: SomaClient, erasure: ErasureView, wait: int, receipt: Path | None, *, as_json: bool
) -> None:
    clock = SystemClock()
    until = clock.monotonic() + wait
    while erasure.state is not ErasureStateView.COMPLETED and clock.monotonic() < until:
        clock.block(_LOOK_AGAIN_SECONDS)
        erasure = client.read_erasure(erasure.request_id)
    if receipt is not None and erasure.receipt is not None:
        write_receipt(erasure, receipt)
    show_answer(erasure, as_json=as_json)
    if erasure.state is not ErasureStateView.COMPLETED and (wait or receipt is not None):
        waits_for = "" if erasure.waits_for is None else f"; it waits for {erasure.waits_for}"
        raise UnfinishedError(
            f"the erasure is {erasure.state}{waits_for}; reads have stopped",
            remedy=f"soma erase show {erasure.request_id}",
        )
