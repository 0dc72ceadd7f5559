"""How the client and the writer meet a server that is away, comes back, refuses or falls silent."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from contract.vectors.build import A_COLLECTION, a_point
from qdrant_server import Line, QdrantServer, qdrant_server
from soma_schemas.errors import MismatchError, SomaError
from soma_schemas.settings import VectorSettings
from soma_schemas.vectors.index_errors import IndexRefusedError, IndexServerError, IndexUnavailableError
from soma_schemas.vectors.server import check_collection, open_client
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.sinks.vectors.qdrant import QdrantWriter
from waiting import eventually

_LONGER_THAN_ANY_TEST = timedelta(minutes=10)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[QdrantServer]:
    """A server that runs."""
    async with qdrant_server(tmp_path / "qdrant") as opened:
        yield opened


@asynccontextmanager
async def writer(url: str, **settings: Any) -> AsyncIterator[QdrantWriter]:
    """A writer to a server."""
    async with open_client(VectorSettings(url=url, **settings)) as client:
        yield QdrantWriter(client, A_COLLECTION)


async def refusal(writer: QdrantWriter) -> SomaError:
    """What a first call ends with."""
    with pytest.raises(SomaError) as raised:
        await writer.prepare()
    return raised.value


async def answers(writer: QdrantWriter) -> bool:
    """Whether a call succeeds."""
    try:
        await writer.read([a_point().id])
    except IndexUnavailableError:
        return False
    return True


async def test_a_wrong_key_is_told_as_what_it_is(tmp_path: Path) -> None:
    async with (
        qdrant_server(tmp_path / "qdrant", api_key="right") as server,
        writer(server.url, api_key=SecretStr("wrong")) as wrong,
        writer(server.url, api_key=SecretStr("right")) as right,
    ):
        error = await refusal(wrong)

        assert isinstance(error, IndexServerError)
        assert "SOMA_VECTORS__API_KEY" in str(error.remedy)
        assert "wrong" not in str(error)
        await right.prepare()


@pytest.mark.parametrize(("scheme", "lines"), [("http", 1), ("https", 0)])
async def test_a_key_without_tls_is_one_line_in_the_log(scheme: str, lines: int) -> None:
    with capture_logs() as logs:
        async with writer(f"{scheme}://127.0.0.1:1", api_key=SecretStr("any")):
            pass

    assert [each["event"] for each in logs] == ["vectors_key_travels_unencrypted"] * lines


def a_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """The files of a key and of a certificate for 127.0.0.1 that it signed itself."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    subject = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made.split(), *subject], check=True, capture_output=True)
    return key, certificate


async def test_tls_holds_with_the_right_authority_and_is_told_as_refused_otherwise(tmp_path: Path) -> None:
    key, ours = a_certificate(tmp_path, "ours")
    _, foreign = a_certificate(tmp_path, "foreign")
    pair = (key.read_bytes(), ours.read_bytes())
    async with qdrant_server(tmp_path / "qdrant", tls=pair) as server:
        for ca_file in (foreign, None):
            async with writer(server.url, ca_file=ca_file) as distrustful:
                error = await refusal(distrustful)
            assert isinstance(error, IndexServerError)
            assert "SOMA_VECTORS__CA_FILE" in f"{error} {error.remedy}"
        async with writer(server.url, ca_file=ours) as trusting:
            await trusting.prepare()


async def test_what_speaks_no_tls_or_no_grpc_is_told_as_such(server: QdrantServer) -> None:
    async with writer(server.url.replace("http", "https")) as one:
        assert "TLS" in str(await refusal(one))

    async def answer(reader: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writing.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writing.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as web:
        async with writer(f"http://127.0.0.1:{web.sockets[0].getsockname()[1]}") as other:
            error = await refusal(other)
        assert "6334" in str(error.remedy)


async def test_a_host_that_is_not_known_is_named_and_waited_for() -> None:
    async with writer("http://nowhere.invalid") as lost:
        error = await refusal(lost)

    assert "nowhere.invalid:6334" in str(error)
    assert classify(error) is FailureClass.TRANSIENT


async def test_every_status_is_met_as_its_meaning_says_and_passes(server: QdrantServer) -> None:
    async with writer(server.url) as met:
        await met.prepare()
        for code in set(grpc.StatusCode) - {grpc.StatusCode.OK}:
            server.faults.statuses["Upsert"] = code
            with pytest.raises(SomaError) as raised:
                await met.write([a_point()])
            refused = code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE}
            assert isinstance(raised.value, IndexRefusedError) is refused, code
            server.faults.statuses.clear()
            point = a_point()
            assert await met.write([point]) == frozenset()
            assert point.id in await met.read([point.id])


async def test_a_server_that_does_not_answer_in_time_is_away_and_goes_on_afterwards(
    server: QdrantServer,
) -> None:
    async with writer(server.url, timeout=timedelta(seconds=1)) as hasty:
        server.faults.answering.clear()

        error = await refusal(hasty)

        assert isinstance(error, IndexUnavailableError)
        server.faults.answering.set()
        await eventually(lambda: answers_after_preparing(hasty), bool)


async def answers_after_preparing(writer: QdrantWriter) -> bool:
    try:
        await writer.prepare()
    except IndexUnavailableError:
        return False
    return await answers(writer)


async def test_a_write_of_which_half_arrived_is_completed_by_the_next(server: QdrantServer) -> None:
    points = [a_point() for _ in range(10)]
    ids = {point.id for point in points}
    async with writer(server.url) as torn:
        await torn.prepare()
        server.faults.torn = grpc.StatusCode.DEADLINE_EXCEEDED

        with pytest.raises(IndexUnavailableError):
            await torn.write(points)

        assert len(await torn.read(ids)) == 5
        server.faults.torn = None
        assert await torn.write(points) == frozenset()
        assert set(await torn.read(ids)) == ids


async def test_a_server_that_was_away_is_looked_for_all_the_time_and_has_what_it_had(
    server: QdrantServer,
) -> None:
    point = a_point()
    async with Line.to(server.port) as line, writer(f"http://127.0.0.1:{line.port}") as patient:
        await patient.prepare()
        await patient.write([point])
        await server.stop()
        tried = [monotonic()]

        async def tries() -> int:
            if await answers(patient):
                raise AssertionError("nobody is there")
            if line.tries > len(tried):
                tried.extend([monotonic()] * (line.tries - len(tried)))
            return len(tried)

        await eventually(tries, lambda number: number >= 7, seconds=120)
        await server.start()
        await eventually(lambda: answers(patient), bool)

        assert set(await patient.read([point.id])) == {point.id}
        # By gRPC's own pauses the sixth would have come after ten seconds.
        assert max(later - earlier for earlier, later in pairwise(tried)) < 5


async def test_a_peer_that_vanishes_without_a_word_is_noticed_and_found_again(server: QdrantServer) -> None:
    async with (
        Line.to(server.port) as line,
        writer(f"http://127.0.0.1:{line.port}", timeout=_LONGER_THAN_ANY_TEST) as client,
    ):
        await client.prepare()
        line.cut()

        with pytest.raises(IndexUnavailableError):
            await client.read([a_point().id])

        line.mend()
        await eventually(lambda: answers(client), bool)


async def test_a_server_that_lost_its_collection_is_a_mismatch_until_a_start_makes_it_again(
    server: QdrantServer,
) -> None:
    async with writer(server.url) as bereft:
        await bereft.prepare()
        await bereft.write([a_point()])
        await server.wipe()
        await eventually(lambda: is_a_mismatch(bereft), bool)

        await bereft.prepare()

        await bereft.check()
        assert await bereft.write([a_point()]) == frozenset()


async def is_a_mismatch(writer: QdrantWriter) -> bool:
    try:
        await writer.write([a_point()])
    except IndexUnavailableError:
        return False
    except MismatchError:
        return True
    raise AssertionError("the collection is there")


async def test_a_server_without_the_collection_says_so_to_whoever_checks(server: QdrantServer) -> None:
    async with open_client(VectorSettings(url=server.url)) as client:
        with pytest.raises(MismatchError, match="no such collection"):
            await check_collection(client, A_COLLECTION)
