"""The API of an installation that was made as its users make one."""

import httpx

from waiting import eventually_now


def api_client(port: int, key: str) -> httpx.Client:
    """Return who asks the API on a port of this machine with a key; to be closed."""
    return httpx.Client(
        base_url=f"http://127.0.0.1:{port}",
        headers={"Authorization": f"Bearer {key}"},
        trust_env=False,
        timeout=120,
    )


def store(client: httpx.Client, text: str) -> None:
    """Store a memory, as its API asks for it while a broker is replaced, and wait until it can be found."""
    repeated: dict[str, str] = {}

    def sent() -> httpx.Response:
        answer = client.post("/v1/memories", json={"namespace": "compose", "text": text}, headers=repeated)
        if answer.json().get("code") == "log_unavailable":
            repeated["Idempotency-Key"] = answer.json()["idempotency_key"]
        return answer

    answer = eventually_now(
        sent, lambda answer: answer.status_code != httpx.codes.SERVICE_UNAVAILABLE, seconds=120
    )
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    status = answer.json()["status_url"]
    eventually_now(
        lambda: client.get(status).json(),
        lambda write: write.get("state") == "applied" and write["searchable"],
        seconds=120,
    )


def found(client: httpx.Client, query: str) -> list[str]:
    """Return the texts that a search finds."""
    answer = client.post("/v1/search", json={"query": query})
    assert answer.status_code == httpx.codes.OK, answer.text
    return [hit["memory"]["text"] for hit in answer.json()["hits"]]
