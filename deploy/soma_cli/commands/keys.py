"""`soma keys`: create, list, rotate and revoke API keys."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from soma_api.roles import Role
from soma_cli.api_key_admin import KeyRecord, NewKey, create_key, list_keys, revoke_key, rotate_key
from soma_cli.commands.options import AsJson
from soma_cli.database_errors import told_in_words
from soma_cli.failures import UsageError
from soma_cli.invocation import invocation_of
from soma_cli.output import Result, plain, say, show
from soma_cli.parsing import seconds_of
from soma_cli.settings import operator_settings
from soma_schemas.clock import SystemClock
from soma_schemas.fields import Namespace, Tenant

app = typer.Typer(
    help="Create, list, rotate and revoke API keys.", no_args_is_help=True, add_completion=False
)

_LONGEST_OVERLAP = timedelta(days=366)

_OfTenant = Annotated[
    str | None,
    typer.Option(help="Tenant. Default: that of the local stack.", show_default=False),
]


class CreatedKey(Result):
    """A new key in the clear: it is shown this once."""

    api_key: str
    key_id: str
    tenant: str
    role: Role
    namespaces: list[str] | None
    expires_at: datetime | None

    def drawn(self) -> RenderableType:
        """Return the key alone, so that it can be piped."""
        return Text(self.api_key)


class ListedKey(Result):
    """What is known of a key."""

    key_id: str
    tenant: str
    role: Role
    namespaces: list[str] | None
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    rotated_at: datetime | None
    former_expires_at: datetime | None
    last_used_at: datetime | None
    former_last_used_at: datetime | None
    record_access: bool


class RotatedKey(Result):
    """A key with its new secret, in the clear: it is shown this once."""

    api_key: str
    key_id: str
    tenant: str
    former_expires_at: datetime

    def drawn(self) -> RenderableType:
        """Return the key alone, so that it can be piped."""
        return Text(self.api_key)


class ListedKeys(Result):
    """The keys, oldest first."""

    keys: list[ListedKey]

    def drawn(self) -> RenderableType:
        """Return a row for each key."""
        names = (
            "id",
            "tenant",
            "role",
            "namespaces",
            "label",
            "created",
            "ends",
            "last used",
            "former secret",
            "records access",
        )
        table = Table(*names, box=None, header_style="bold", pad_edge=False)
        for key in self.keys:
            namespaces = "all" if key.namespaces is None else " ".join(key.namespaces)
            table.add_row(
                key.key_id,
                key.tenant,
                key.role.value,
                Text(plain(namespaces)),
                Text(plain(key.label)),
                _day(key.created_at),
                f"revoked {_day(key.revoked_at)}" if key.revoked_at else _day(key.expires_at),
                _minute(key.last_used_at),
                _former(key),
                "yes" if key.record_access else "",
            )
        return table


@app.command()
def create(
    context: typer.Context,
    *,
    tenant: _OfTenant = None,
    role: Annotated[
        Role,
        typer.Option(
            help="reader: read. writer: also store. operator: also metrics and dead letters. admin: all."
        ),
    ] = Role.WRITER,
    namespaces: Annotated[
        list[str] | None,
        typer.Option("--namespace", help="Limit the key to this namespace and all below it. Default: all."),
    ] = None,
    label: Annotated[str, typer.Option(help="Text that `soma keys list` shows.")] = "",
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Days until the key expires. Default: never.")
    ] = None,
    record_access: Annotated[
        bool,
        typer.Option(
            "--record-access", help="Count memories as accessed that are read or found with this key."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create an API key and print it. It cannot be shown again: only a digest of its secret is stored."""
    settings, local = operator_settings(invocation_of(context))
    tenant = tenant or (local.tenant if local is not None else None)
    if tenant is None:
        raise UsageError("the tenant of the key is not known", remedy="give --tenant")
    _require_valid(tenant, namespaces or [])
    now = SystemClock().now()
    expires_at = None if days is None else now + timedelta(days=days)
    with told_in_words(settings.postgres):
        key = create_key(
            settings.postgres.conninfo(),
            NewKey(tenant, role, namespaces, label, expires_at, record_access),
            now,
        )
    if not as_json:
        say(f"key {key.key_id} of tenant {tenant}, role {role.value}; it is shown this once:")
    show(
        CreatedKey(
            api_key=key.reveal(),
            key_id=key.key_id,
            tenant=tenant,
            role=role,
            namespaces=namespaces,
            expires_at=expires_at,
        ),
        as_json=as_json,
    )


@app.command("list")
def list_(
    context: typer.Context,
    *,
    tenant: Annotated[str | None, typer.Option(help="Only keys of this tenant.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List API keys, without their secrets."""
    settings, _ = operator_settings(invocation_of(context))
    with told_in_words(settings.postgres):
        found = list_keys(settings.postgres.conninfo(), tenant)
    show(ListedKeys(keys=[_listed(key) for key in found]), as_json=as_json)


@app.command()
def rotate(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(help="Id of the key, from `soma keys list`.", metavar="ID")],
    *,
    overlap: Annotated[
        str,
        typer.Option(help="How long the former secret stays good, such as `12h`; `0s` ends it."),
    ] = "1d",
    as_json: AsJson = False,
) -> None:
    """Give an API key a new secret and print it. The key keeps its id and all that it is allowed.

    Both secrets are good until the overlap is over. Change it in every client meanwhile: `soma keys list`
    says when the former one was last used. A secret before the former one ends at once.
    """
    lasting = timedelta(seconds=seconds_of("--overlap", overlap))
    if lasting > _LONGEST_OVERLAP:
        raise UsageError("--overlap is longer than a year", remedy="create another key instead")
    settings, _ = operator_settings(invocation_of(context))
    with told_in_words(settings.postgres):
        rotated = rotate_key(settings.postgres.conninfo(), key_id, lasting, SystemClock().now())
    if rotated is None:
        raise UsageError("there is no key with this id that is still good", remedy="see `soma keys list`")
    key, found = rotated
    if found.former_expires_at is None:
        raise TypeError("a rotated key has a former secret")
    if not as_json:
        say(
            f"key {key_id} of tenant {found.tenant}; its new secret is shown this once, and the former one "
            f"is good until {found.former_expires_at:%Y-%m-%d %H:%M} UTC:"
        )
    show(
        RotatedKey(
            api_key=key.reveal(),
            key_id=key_id,
            tenant=found.tenant,
            former_expires_at=found.former_expires_at,
        ),
        as_json=as_json,
    )


@app.command()
def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(help="Id of the key, from `soma keys list`.", metavar="ID")],
    *,
    as_json: AsJson = False,
) -> None:
    """Revoke an API key. The API accepts it for up to SOMA_API__API_KEY_CACHE_TTL after that."""
    settings, _ = operator_settings(invocation_of(context))
    with told_in_words(settings.postgres):
        found = revoke_key(settings.postgres.conninfo(), key_id, SystemClock().now())
    if found is None:
        raise UsageError("there is no key with this id", remedy="see `soma keys list`")
    show(ListedKeys(keys=[_listed(found)]), as_json=as_json)


def _require_valid(tenant: str, namespaces: list[str]) -> None:
    try:
        TypeAdapter(Tenant).validate_python(tenant)
        for namespace in namespaces:
            TypeAdapter(Namespace).validate_python(namespace)
    except ValidationError as error:
        raise UsageError(error.errors()[0]["msg"]) from None


def _listed(key: KeyRecord) -> ListedKey:
    return ListedKey(
        key_id=key.key_id,
        tenant=key.tenant,
        role=key.role,
        namespaces=None if key.namespaces is None else list(key.namespaces),
        label=key.label,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        rotated_at=key.rotated_at,
        former_expires_at=key.former_expires_at,
        last_used_at=key.last_used_at,
        former_last_used_at=key.former_last_used_at,
        record_access=key.record_access,
    )


def _former(key: ListedKey) -> str:
    if key.former_expires_at is None:
        return ""
    used = f", used {_minute(key.former_last_used_at)}" if key.former_last_used_at else ""
    return f"until {_minute(key.former_expires_at)}{used}"


def _minute(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def _day(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d}"
