"""`soma schemas`: register and check the schemas of events."""

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.commands.options import AsJson
from soma_cli.compatibility import incompatibilities
from soma_cli.failures import FindingsError
from soma_cli.invocation import invocation_of
from soma_cli.output import Result, say, show, waiting_for
from soma_cli.settings import operator_settings
from soma_cli.topic_application import at_present
from soma_schemas.registry import SchemaStatus, check_schemas, open_registry, register_schemas

app = typer.Typer(
    help="Register and check the schemas of events.", no_args_is_help=True, add_completion=False
)


class RegisteredSchema(Result):
    """One released schema as the registry has it; `fault` is null when all is well."""

    subject: str
    version: int
    schema_id: int | None
    compatibility: str | None
    fault: str | None


class Schemas(Result):
    """The released schemas: whether they can read each other, and how the registry has them."""

    incompatibilities: list[str]
    schemas: list[RegisteredSchema]

    def drawn(self) -> RenderableType:
        """Return a row for each schema."""
        table = Table("subject", "version", "id", "state", box=None, header_style="bold", pad_edge=False)
        for schema in self.schemas:
            schema_id = "" if schema.schema_id is None else str(schema.schema_id)
            table.add_row(Text(schema.subject), str(schema.version), schema_id, Text(schema.fault or "ok"))
        return table


@app.command()
def register(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Register every released schema, oldest first, with compatibility FULL_TRANSITIVE."""
    _require_compatible()
    settings = at_present(operator_settings(invocation_of(context))[0])
    with open_registry(settings.registry) as registry, waiting_for("the registry"):
        statuses = register_schemas(registry, settings.topics)
    show(_schemas(statuses, []), as_json=as_json)


@app.command()
def check(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Check that all released schemas are compatible and registered; exit code 1 if not.

    Compatibility is checked offline, registration in the registry.
    """
    found = [str(each) for each in incompatibilities()]
    settings = at_present(operator_settings(invocation_of(context))[0])
    with open_registry(settings.registry) as registry, waiting_for("the registry"):
        statuses = check_schemas(registry, settings.topics)
    show(_schemas(statuses, found), as_json=as_json)
    faults = [status for status in statuses if status.fault is not None]
    if found or faults:
        raise FindingsError(
            f"{len(found)} incompatible versions, {len(faults)} schemas not in order",
            tuple(found),
            remedy="run `soma schemas register`" if faults else None,
        )


@app.command()
def compatibility() -> None:
    """Check offline that all released schemas are compatible."""
    _require_compatible()
    say("all released versions can read each other")


def _require_compatible() -> None:
    if found := incompatibilities():
        raise FindingsError(
            "released schemas cannot read each other",
            tuple(str(each) for each in found),
            remedy="a released schema is never edited; correct the newest, unreleased one",
        )


def _schemas(statuses: list[SchemaStatus], found: list[str]) -> Schemas:
    return Schemas(
        incompatibilities=found,
        schemas=[
            RegisteredSchema(
                subject=each.subject,
                version=each.version,
                schema_id=each.schema_id,
                compatibility=each.compatibility,
                fault=each.fault,
            )
            for each in statuses
        ],
    )
