"""Looks at PostgreSQL, the schema registry, and a vector index on a server."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import psycopg

from soma_cli.compatibility import incompatibilities
from soma_cli.database_errors import told_in_words
from soma_cli.diagnosis import judgements
from soma_cli.diagnosis.broker_checks import ANSWER_SECONDS
from soma_cli.diagnosis.findings import Health, Verdict, ok
from soma_schemas.clock import Clock
from soma_schemas.registry import check_schemas, open_registry
from soma_schemas.settings import PostgresSettings, RegistrySettings, TopicSettings
from soma_schemas.tables import check_runs_on
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.index_errors import IndexUnavailableError
from soma_schemas.vectors.placement import Placement
from soma_schemas.vectors.server import behind, check_collection, misplaced, open_client
from soma_streams.settings import VectorWorkerSettings

# What the processes log in with has to have one of these, or be a superuser.
_ROLES = {"soma_sinks": "the workers", "soma_readers": "the API"}


def schemas(settings: RegistrySettings, topics: TopicSettings) -> Sequence[Verdict]:
    """Say whether the registry has every released schema, and under the right rule.

    Raises:
        RegistryError: It cannot be asked.
    """
    patient = settings.model_copy(update={"timeout": timedelta(seconds=ANSWER_SECONDS)})
    with open_registry(patient, retries=False) as registry:
        statuses = check_schemas(registry, topics)
    faults = [
        Verdict(
            Health.FAILED,
            f"version {each.version} of {each.subject}: {each.fault}",
            "run `soma schemas register`",
        )
        for each in statuses
        if each.fault is not None
    ]
    faults += [
        Verdict(Health.FAILED, str(each), "a released schema is never edited; correct the newest one")
        for each in incompatibilities()
    ]
    return faults or [ok(f"all {len(statuses)} schemas are registered and can read each other")]


def database(settings: PostgresSettings) -> Sequence[Verdict]:
    """Say whether the database is at our revision, takes writes, and has connections left.

    Raises:
        DatabaseError: It cannot be asked.
        MismatchError: It is at another revision.
    """
    with told_in_words(settings):
        found = check_runs_on(settings.conninfo())
        with psycopg.connect(settings.conninfo()) as connection:
            row = connection.execute(
                "SELECT pg_is_in_recovery(), current_setting('max_connections')::integer,"
                " (SELECT sum(numbackends) FROM pg_stat_database)::integer,"
                " pg_database_size(current_database())"
            ).fetchone()
    assert row is not None  # noqa: S101  # a row without FROM
    standby, most, used, size = row
    if standby:
        return [
            Verdict(
                Health.FAILED,
                "the server is a standby: it takes no writes",
                "name the primary with SOMA_POSTGRES__HOST: docs/runbooks/database-failover.md",
            )
        ]
    return [
        ok(f"at revision {found}, {judgements.size(size)}"),
        judgements.connections(f"{settings.host}:{settings.port}", used, most),
    ]


def roles(settings: PostgresSettings) -> Sequence[Verdict]:
    """Say whether somebody can log in as a worker, as the API and as an operator.

    Raises:
        DatabaseError: The database cannot be asked.
    """
    with told_in_words(settings), psycopg.connect(settings.conninfo()) as connection:
        lacking = [
            Verdict(
                Health.FAILED,
                f"no login has role {role}, which {whose} need",
                f"run `GRANT {role} TO` their login, as the owner",
            )
            for role, whose in _ROLES.items()
            if not _holders(connection, role)
        ]
        row = connection.execute(
            "SELECT pg_has_role(current_user, to_regrole('soma_operators'), 'member')"
        ).fetchone()
    if row is None or not row[0]:
        lacking.append(
            Verdict(
                Health.FAILED,
                f"user `{settings.user}` has no role soma_operators, which `soma dlq` needs",
                f"run `GRANT soma_operators TO {settings.user}`, as the owner",
            )
        )
    return lacking or [ok(f"logins have roles {', '.join(_ROLES)}; ours has soma_operators")]


def clock_of_database(settings: PostgresSettings, clock: Clock) -> Sequence[Verdict]:
    """Say whether the server's clock is as ours.

    Raises:
        DatabaseError: It cannot be asked.
    """
    with told_in_words(settings), psycopg.connect(settings.conninfo()) as connection:
        before = clock.now()
        row = connection.execute("SELECT clock_timestamp()").fetchone()
        after = clock.now()
    assert row is not None  # noqa: S101  # a row without FROM
    uncertain = (after - before) / 2
    return [
        judgements.clock(
            "PostgreSQL", (row[0] - (before + uncertain)).total_seconds(), uncertain.total_seconds()
        )
    ]


async def collection(
    settings: VectorWorkerSettings, declare: Callable[[Collection | None, str], Collection]
) -> Sequence[Verdict]:
    """Say whether a server has the collection, made for an embedder of ours.

    Args:
        settings: Where the server is.
        declare: Returns the collection under an alias as we know it, given what is there.

    Raises:
        MismatchError: It has not.
        SomaError: It cannot be asked.
    """
    async with open_client(settings.vectors) as client:
        try:
            found = await behind(client, settings.vectors.collection)
            declared = declare(found and found.recorded, settings.vectors.collection)
            await check_collection(client, declared)
            differences = await misplaced(client, declared.alias, Placement.of(settings.vectors))
        except IndexUnavailableError as error:
            # Its own remedy is for a worker, which tries again.
            remedy = "start the server of the index, or correct SOMA_VECTORS__URL"
            return [Verdict(Health.FAILED, str(error), remedy)]
    there = ok(f"collection `{declared.alias}` is there, for model {declared.model}")
    remedy = "make it anew with `soma reindex`, or correct the setting"
    return [there, *(Verdict(Health.WARNING, each, remedy) for each in differences)]


def _holders(connection: psycopg.Connection, role: str) -> int:
    row = connection.execute(
        "SELECT count(*) FROM pg_roles"
        " WHERE rolcanlogin AND NOT rolsuper AND pg_has_role(oid, to_regrole(%s), 'member')",
        [role],
    ).fetchone()
    return 0 if row is None else row[0]
