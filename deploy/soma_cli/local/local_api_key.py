"""The API key of the user who started the local stack."""

from datetime import datetime
from pathlib import Path

from soma_api.api_keys import ApiKey
from soma_api.roles import Role
from soma_cli.api_key_admin import NewKey, create_key, is_current
from soma_cli.local.home import write_private


def local_api_key(path: Path, dsn: str, tenant: str, now: datetime) -> str:
    """Return the key in a file, made at the first start and then kept.

    Args:
        path: The file, for the owner's eyes.
        dsn: The database in which keys are known; as its owner.
        tenant: Whose memories it opens.
        now: Noted as the time at which a new one was made.
    """
    kept = ApiKey.parse(path.read_text(encoding="ascii").strip()) if path.exists() else None
    if kept is not None and is_current(dsn, kept, tenant):
        return kept.reveal()
    wanted = NewKey(tenant, Role.ADMIN, label="made by soma up")
    return create_key(dsn, wanted, now, keep=lambda key: write_private(path, key.reveal() + "\n")).reveal()
