"""A Prometheus that scrapes a test's processes, with the rules as they are, only faster."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from own_processes import a_free_port
from prometheus_rules import GROUPS, program
from soma_cli.local.home import LOOPBACK
from waiting import eventually_now

# A minute of a rule is two seconds here.
FASTER = 30
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_WINDOW = re.compile(r"\[(\d+)([smhd])\]")


def faster(duration: str) -> str:
    """Return a rule's duration as it counts here."""
    return f"{max(1, int(duration[:-1]) * _SECONDS[duration[-1]] // FASTER)}s"


def sped_up(expression: str) -> str:
    """Return a query with its windows as they count here."""
    expression = expression.replace("$__rate_interval", "4m")
    return _WINDOW.sub(lambda found: f"[{faster(found[1] + found[2])}]", expression)


def rules() -> dict[str, Any]:
    """Return every rule, with its windows and its `for` as they count here."""
    return {
        "groups": [
            {
                "name": name,
                "rules": [
                    {key: faster(value) if key == "for" else value for key, value in rule.items()}
                    | {"expr": sped_up(rule["expr"])}
                    for rule in group
                ],
            }
            for name, group in GROUPS.items()
        ]
    }


class PrometheusServer:
    """A Prometheus of its own, asked over HTTP.

    Args:
        folder: For its files.
        jobs: The addresses to scrape, by the job's name.
    """

    def __init__(self, folder: Path, jobs: Mapping[str, str]) -> None:
        self._folder = folder
        port = a_free_port()
        self._address = f"{LOOPBACK}:{port}"
        configuration = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(folder / "rules.yml")],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [url.removeprefix("http://")]}]}
                for job, url in jobs.items()
            ],
        }
        folder.mkdir()
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        (folder / "rules.yml").write_text(yaml.safe_dump(rules()))

    def __enter__(self) -> Self:
        log = (self._folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={self._folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address={self._address}",
            ],
            stdout=log,
            stderr=log,
        )
        log.close()
        eventually_now(self._ready, seconds=60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()

    def _ready(self) -> bool:
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            return httpx.get(f"http://{self._address}/-/ready", trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what a query answers now.

        Raises:
            AssertionError: Prometheus refuses it; the words say why.
        """
        found: list[dict[str, Any]] = self._ask("query", query=expression)["result"]
        return found

    def history(self, expression: str, begin: float, end: float, step: float = 1) -> list[dict[str, Any]]:
        """Return what a query answered over time."""
        asked = {"start": str(begin), "end": str(end), "step": str(step)}
        found: list[dict[str, Any]] = self._ask("query_range", query=expression, **asked)["result"]
        return found

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {
            alert["labels"]["alertname"]
            for alert in self._ask("alerts")["alerts"]
            if alert["state"] == "firing"
        }

    def broken_rules(self) -> dict[str, str]:
        """Return the rules that cannot be evaluated, with the reason."""
        return {
            rule["name"]: rule.get("lastError", "")
            for group in self._ask("rules")["groups"]
            for rule in group["rules"]
            if rule["health"] == "err"
        }

    def _ask(self, what: str, **parameters: str) -> dict[str, Any]:
        answer = httpx.get(
            f"http://{self._address}/api/v1/{what}", params=parameters, trust_env=False, timeout=30
        ).json()
        assert answer["status"] == "success", f"{parameters}: {answer['error']}"
        data: dict[str, Any] = answer["data"]
        return data
