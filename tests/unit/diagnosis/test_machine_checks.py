"""What the doctor finds on this machine."""

from pathlib import Path

import pytest

from soma_cli.diagnosis import machine_checks
from soma_cli.diagnosis.findings import Health
from soma_client.client_file import client_file_of


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of a stack, with its secrets."""
    (tmp_path / "secrets").mkdir(mode=0o700)
    for path in (tmp_path / "secrets" / "api-key", client_file_of(tmp_path)):
        path.touch(mode=0o600)
    return tmp_path


def test_a_folder_as_the_stack_makes_it_is_in_order(home: Path) -> None:
    assert [each.health for each in machine_checks.folders(home)] == [Health.OK]


@pytest.mark.parametrize("name", ["client.json", "secrets", "secrets/api-key"])
def test_secrets_that_others_can_read_are_told_with_the_command_that_mends_it(home: Path, name: str) -> None:
    (home / name).chmod(0o755)

    (found,) = machine_checks.folders(home)

    assert found.health is Health.FAILED
    assert found.remedy == f"run `chmod go= '{home / name}'`"


def test_the_room_is_that_of_the_disk_of_the_folder(home: Path) -> None:
    (found,) = machine_checks.room(home)

    assert found.about == str(home)
    assert found.found.endswith(" free")


def test_a_wrong_setting_is_told_for_each_process_that_reads_it() -> None:
    found = machine_checks.settings({"SOMA_API__PORT": "many"})

    assert [(each.health, each.about) for each in found] == [
        (Health.FAILED, "api"),
        (Health.FAILED, "embedded-api"),
    ]
    assert "SOMA_API__PORT" in found[0].found


def test_settings_in_order_are_one_line() -> None:
    assert [each.health for each in machine_checks.settings({})] == [Health.OK]
