"""`soma work`: run a worker."""

import asyncio

import typer

from soma_cli.invocation import invocation_of
from soma_cli.processes import workers
from soma_cli.settings import KNOWN
from soma_schemas.configuration import load
from soma_streams.settings import PostgresWorkerSettings, RetentionWorkerSettings, VectorWorkerSettings

app = typer.Typer(help="Run a worker.", no_args_is_help=True, add_completion=False)


@app.command()
def postgres(context: typer.Context) -> None:
    """Write memory events to PostgreSQL, and index dead letters, until SIGINT or SIGTERM."""
    environment = invocation_of(context).environment
    loaded = load(PostgresWorkerSettings, environment=environment, known=KNOWN)
    asyncio.run(workers.work_postgres(loaded))


@app.command()
def vectors(context: typer.Context) -> None:
    """Write memory events to a Qdrant server until SIGINT or SIGTERM."""
    loaded = load(VectorWorkerSettings, environment=invocation_of(context).environment, known=KNOWN)
    asyncio.run(workers.work_vectors(loaded))


@app.command()
def retention(context: typer.Context) -> None:
    """End memories whose time has come, and keep the policies in force, until SIGINT or SIGTERM."""
    environment = invocation_of(context).environment
    loaded = load(RetentionWorkerSettings, environment=environment, known=KNOWN)
    asyncio.run(workers.work_retention(loaded))
