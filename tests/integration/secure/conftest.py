"""One secure stack for the session: TLS on every hop, and a user with rights of its own for every process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from caches import cache_folder
from conftest import SecureParts
from secure_site import SecureSite, open_secure_site
from soma_cli.local.postgres import Login
from soma_command import Soma
from soma_schemas.tables.migrations import migrate


@pytest.fixture(scope="session")
def secure_parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureParts]:
    """The third-party parts, secured, with a migrated database."""
    with SecureParts(tmp_path_factory.mktemp("secure") / "home", cache_folder()) as running:
        migrate(running.parts.postgres.dsn(Login.OWNER))
        running.run(running.parts.postgres.grant_roles())
        yield running


@pytest.fixture(scope="session")
def site(secure_parts: SecureParts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureSite]:
    """All our processes on the secure parts."""
    with open_secure_site(secure_parts, tmp_path_factory.mktemp("site")) as opened:
        yield opened


@pytest.fixture
def soma(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Soma:
    """`soma`, without a local stack."""
    return Soma(tmp_path / "no-home", capfd)
