"""A home keeps to itself, remembers, and takes one stack at a time."""

import os
import socket
import stat
from pathlib import Path
from random import Random

import pytest

from soma_cli.local.errors import HomeInUseError, NoFreePortError, UnusableFolderError
from soma_cli.local.home import LOOPBACK, PORTS, Home, is_free


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def listening(port: int) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((LOOPBACK, port))
    server.listen()
    return server


class Repeating(Random):
    """Chooses the first it is offered, every time."""

    def choice(self, seq: range) -> int:  # type: ignore[override]  # ports are all it is asked for
        return seq[0]


def test_a_home_is_entered_by_its_owner_alone(home: Home) -> None:
    assert mode(home.path) == 0o700


@pytest.mark.parametrize("name", [b"a\nb", b"a\x7fb", b"a\xffb"])
def test_a_home_of_a_name_that_no_part_can_work_with_is_refused_at_once(name: bytes, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(name)

    with pytest.raises(UnusableFolderError) as refused:
        Home(path, Random(1))

    assert "SOMA_HOME" in str(refused.value.remedy)
    assert not path.exists()


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_home_that_cannot_be_made_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(UnusableFolderError, match=r"it is a file|Not a directory") as refused:
        Home(tmp_path / name, Random(1))

    assert "SOMA_HOME" in str(refused.value.remedy)


def test_every_folder_below_a_home_is_entered_by_its_owner_alone(home: Home) -> None:
    folder = home.folder("a", "b")

    assert mode(folder) == 0o700
    assert mode(folder.parent) == 0o700


def test_a_secret_is_read_by_its_owner_alone(home: Home) -> None:
    home.secret("door")

    assert mode(home.path / "secrets" / "door") == 0o600


def test_a_secret_stays_the_same(home: Home) -> None:
    first = home.secret("door")

    assert Home(home.path, Random(2)).secret("door") == first
    assert len(first) >= 40


def test_two_secrets_differ(home: Home) -> None:
    assert home.secret("door") != home.secret("gate")


def test_a_port_is_remembered_by_the_next_stack(home: Home) -> None:
    first = home.port("kafka")

    assert Home(home.path, Random(2)).port("kafka") == first


def test_a_remembered_port_that_somebody_took_is_replaced(home: Home) -> None:
    first = home.port("kafka")

    with listening(first):
        second = home.port("kafka")

    assert second != first
    assert home.port("kafka") == second


def test_the_port_that_people_know_is_taken_when_it_is_free(home: Home) -> None:
    known = home.port("some free port")
    with listening(known):
        assert home.port("api", preferred=known) != known

    other = Home(home.path.parent / "other", Random(4))

    assert other.port("api", preferred=known) == known
    assert other.port("api", preferred=PORTS[0]) == known


def test_two_purposes_never_get_one_port(tmp_path: Path) -> None:
    home = Home(tmp_path, Random(3))

    ports = {home.port(f"purpose {number}") for number in range(50)}

    assert len(ports) == 50


def test_no_free_port_is_an_error_and_no_endless_search(tmp_path: Path) -> None:
    home = Home(tmp_path, Repeating())

    with listening(PORTS[0]), pytest.raises(NoFreePortError) as caught:
        home.port("kafka")

    assert caught.value.remedy


def test_ports_are_out_of_reach_of_outgoing_connections() -> None:
    # A client that connects again and again to a part that is down could otherwise connect to itself.
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

    assert PORTS.stop <= first_outgoing


def test_a_port_with_a_listener_is_not_free() -> None:
    with socket.socket() as server:
        server.bind((LOOPBACK, 0))
        server.listen()

        assert not is_free(server.getsockname()[1])


def test_a_second_stack_is_refused_and_told_who_holds_the_home(home: Home) -> None:
    with home.lock(), pytest.raises(HomeInUseError) as caught, Home(home.path, Random(2)).lock():
        pass

    assert str(os.getpid()) in str(caught.value)
    assert caught.value.code == "home_in_use"
    assert caught.value.remedy


def test_a_home_is_free_again_when_its_stack_has_gone(home: Home) -> None:
    with home.lock():
        pass

    with Home(home.path, Random(2)).lock():
        pass


def test_scratch_is_empty_at_every_start(home: Home) -> None:
    (home.scratch("kafka") / "libzstd.so").write_text("of the last run")

    assert list(home.scratch("kafka").iterdir()) == []
