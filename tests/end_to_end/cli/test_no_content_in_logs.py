"""No log of any process holds content of memories, keys or passwords: here they are put in everywhere."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from builders import stored
from dead_letter_makers import Raw, RawLog, handover_settings
from soma_client.client_file import ClientFile, read_client_file
from soma_command import Soma
from soma_up import Up
from waiting import eventually_now

CONTENT = "canary-content"
SECRET = "canary-secret"
NAMESPACE = "kept/out"
# Each may hold anything, as far as clients go.
MISUSED_HEADERS = [
    "X-Request-Id",
    "User-Agent",
    "Referer",
    "Origin",
    "Prefer",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Soma-Position",
    "Soma-Max-Staleness",
    "Last-Event-ID",
    "X-Forwarded-For",
    "traceparent",
    "tracestate",
    "Accept",
]


@pytest.fixture
def beside(stack: Up) -> ClientFile:
    client_file = read_client_file(stack.home)
    assert client_file is not None
    return client_file


def a_memory(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "namespace": NAMESPACE,
        "key": f"{CONTENT}-{name}",
        "text": f"{CONTENT} {name}",
        "payload": {CONTENT: [f"{CONTENT} {name}"]},
        "tags": [CONTENT],
        "subject": CONTENT,
    } | fields


def ask(beside: ClientFile) -> list[int]:
    """Send content where it belongs and where it does not; return the statuses."""
    good, broken = a_memory("good"), a_memory("broken")
    wait = {"Prefer": "wait=60"}
    known = {"X-API-Key": beside.api_key}
    statuses = []
    with httpx.Client(base_url=beside.url, timeout=90, trust_env=False) as client:

        def send(method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> None:
            statuses.append(client.request(method, path, headers=known | (headers or {}), **more).status_code)

        send("POST", "/v1/memories", wait, json=good)
        send("GET", "/v1/memories", params={"namespace": NAMESPACE, "key": good["key"]})
        send("POST", "/v1/search", json={"query": f"{CONTENT} good"})
        for change in (
            {"importance": CONTENT},
            {"text": CONTENT + "\0"},
            {"text": CONTENT * 10_000},
            {"tags": [CONTENT] * 100},
            {"tenant": CONTENT},
            {CONTENT: CONTENT},
            {"coordinate": [CONTENT]},
        ):
            send("POST", "/v1/memories", json=broken | change)
        send("POST", "/v1/memories", content=f'{{"text": "{CONTENT}'.encode())
        send("POST", "/v1/memories:batch", json={"memories": [broken, broken | {"importance": CONTENT}]})
        send("POST", "/v1/search", json={"query": CONTENT, "mode": CONTENT})
        send("GET", f"/v1/memories/{CONTENT}")
        send("GET", "/v1/memories", params={"namespace": NAMESPACE, "cursor": CONTENT})
        send("GET", f"/{CONTENT}")
        send("PATCH", f"/v1/memories/{CONTENT}", {"If-Match": CONTENT}, json={"text": CONTENT})
        send("POST", "/v1/memories", {"Idempotency-Key": CONTENT, "Prefer": CONTENT}, json=broken)
        send("GET", "/v1/stats", {"X-API-Key": SECRET})
        send("GET", "/v1/stats", {"X-API-Key": f"{beside.api_key[:22]}_{SECRET}"})
        send("GET", "/v1/stats", {"X-API-Key": "", "Authorization": f"Basic {SECRET}"})
    return statuses


def misplace(beside: ClientFile) -> list[int]:
    """Send a good key everywhere but where it belongs, also beside itself; return the statuses."""
    key, statuses = beside.api_key, []
    with httpx.Client(base_url=beside.url, timeout=90, trust_env=False) as client:
        for known in ({"X-API-Key": key}, {}):

            def send(method: str, path: str, known: dict[str, str] = known, **more: Any) -> None:
                headers = known | more.pop("headers", {})
                statuses.append(client.request(method, path, headers=headers, **more).status_code)

            for name in MISUSED_HEADERS:
                send("GET", "/v1/stats", headers={name: key})
            send("GET", "/v1/stats", headers={"Cookie": f"key={key}", "Authorization": f"Basic {key}"})
            for name in ("key", "api_key", "filter", "cursor", "namespace", "sort", key):
                send("GET", "/v1/memories", params={name: key})
            for path in (f"/v1/memories/{key}", f"/v1/writes/{key}", f"/{key}", f"/{key}/", f"//{key}@host/"):
                send("GET", path)
            for body in ({"query": key, "mode": key}, {key: key}, key, [key]):
                send("POST", "/v1/search", json=body)
            send("POST", "/v1/search", content=f'{{"query": "{key}')
            send("POST", "/v1/search", content=key, headers={"Content-Type": key, "Content-Encoding": key})
            send(key, "/v1/stats")
    address = httpx.URL(beside.url)
    for line in (f"\0{key}", f"GET /{key}", f"GET / HTTP/{key}", f"GET / HTTP/1.1\r\nbad header {key}"):
        with socket.create_connection((address.host, address.port), timeout=90) as raw:
            raw.sendall(f"{line}\r\n\r\n".encode())
            statuses.append(int(raw.makefile("rb").readline().split()[1]))
    return statuses


def poison(log: RawLog, tenant: str) -> list[Raw]:
    """Return records that become dead letters at each stage, with content in every part of them."""
    event = stored(tenant=tenant, namespace=NAMESPACE, key=f"{CONTENT}-poison", text=f"{CONTENT} poison")
    value = log.encoded(event)
    headers = [(CONTENT, CONTENT.encode()), ("traceparent", CONTENT.encode()), ("x-soma-replay-offset", b"x")]
    return [
        Raw(CONTENT.encode(), CONTENT.encode(), headers),
        Raw(event.log_key(), CONTENT.encode(), headers),
        Raw(event.log_key(), value[:-3], headers),
        Raw(f"{tenant}/{CONTENT}".encode(), value, headers),
        Raw(event.log_key(), log.encoded(event, importance=7.0, actor=CONTENT), headers),
        Raw(event.log_key(), log.encoded(event, payload=f'{{"{CONTENT}'), headers),
        Raw(event.log_key(), log.encoded(event, text=f"{CONTENT}\0"), headers),
        log.an_event(
            stored(
                tenant=tenant,
                namespace=NAMESPACE,
                key=f"{CONTENT}-vector",
                text=CONTENT,
                embedding=[0.5, 0.5],
                embedding_model="wordllama-256",
            )
        ),
    ]


def said_by_commands(at_home: Soma, folder: Path, key: str) -> str:
    """Run the commands that meet content, and return what they say on stderr."""
    good, bad = folder / "good.jsonl", folder / "bad.jsonl"
    good.write_text(json.dumps(a_memory("imported")) + "\n")
    bad.write_text(json.dumps(a_memory("refused", importance=CONTENT)) + "\n{" + CONTENT + "\n")
    commands: list[list[str]] = [
        ["--traceback", "store", f"{CONTENT} stored", "-n", NAMESPACE, "--key", f"{CONTENT}-stored"],
        ["--traceback", "search", CONTENT],
        ["--traceback", "import", str(good), "--wait"],
        ["--traceback", "import", str(bad)],
        ["--traceback", "export", "-n", NAMESPACE],
        ["--traceback", "dlq", "list", "--json"],
        ["--traceback", "dlq", "replay", "--code", "avro", "--yes", "--json"],
        ["--traceback", "verify"],
        ["--traceback", "keys", "revoke", key],
        ["--traceback", "keys", "rotate", key],
        ["--traceback", "list", "--api-key", key, "--url", "http://127.0.0.1:1"],
        ["--traceback", "list", "--api-key", f"{key}{SECRET}"],
        ["--traceback", "search", "tea", "--at", key],
    ]
    return "".join(at_home(*command).err for command in commands)


def said_by_a_worker_that_cannot_log_in(beside: ClientFile) -> str:
    """Start one with a wrong password, as somebody who rotated the other half; return all that it said."""
    wrong = {"SOMA_POSTGRES__PASSWORD": SECRET, "SOMA_REGISTRY__PASSWORD": SECRET, "SOMA_LOG__LEVEL": "debug"}
    environment = {**os.environ, **beside.environment, **wrong, "SOMA_WORKER__PORT": "0"}
    ended = subprocess.run(
        [sys.executable, "-m", "soma_cli.main", "work", "postgres"],
        env=environment | {"SOMA_REGISTRY__USERNAME": "somebody", "SOMA_POSTGRES__USER": "soma_worker"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode != 0
    return ended.stdout + ended.stderr


def dead_letters(at_home: Soma) -> int:
    ran = at_home("dlq", "list", "--json", "--limit", "500")
    return len(json.loads(ran.out)["dead_letters"])


def test_no_log_of_any_process_holds_content_or_secrets(
    stack: Up, at_home: Soma, beside: ClientFile, tmp_path: Path
) -> None:
    before = dead_letters(at_home)
    statuses, misplaced = ask(beside), misplace(beside)
    log = RawLog(handover_settings(beside.environment))
    records = poison(log, beside.tenant)
    log.send(records)
    eventually_now(lambda: dead_letters(at_home), lambda count: count >= before + len(records), seconds=90)
    said = {
        "commands": said_by_commands(at_home, tmp_path, beside.api_key),
        "a worker with wrong passwords": said_by_a_worker_that_cannot_log_in(beside),
        "soma up": stack.said(),
        **{file.name: file.read_text(errors="replace") for file in stack.home.glob("logs/*")},
    }

    assert statuses[:3] == [201, 200, 200]
    assert all(400 <= status < 500 for status in statuses[3:]), statuses
    assert {200, 400, 401, 404, 405, 422} <= set(misplaced)
    assert max(misplaced) < 500, misplaced
    assert {"api.log", "worker.log", "kafka.log", "postgres.log"} <= said.keys()
    found = {
        (who, line[:400])
        for who, text in said.items()
        for line in text.splitlines()
        if CONTENT in line or SECRET in line or beside.api_key.lower() in line.lower()
    }
    assert found == set()
