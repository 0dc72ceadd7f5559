"""A real API server of Kubernetes with its etcd, and nothing else: it checks objects, and no pod runs."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from chart.checking_tools import api_server
from own_processes import a_free_port
from waiting import eventually_now

_TOKEN = "of-the-test"
_START_SECONDS = 120.0
_STOP_SECONDS = 30.0


class ApiServer:
    """Speaks to an API server as its administrator.

    Args:
        url: Where it is.
        kubeconfig: A file by which others find it.
    """

    def __init__(self, url: str, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self._client = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {_TOKEN}"},
            verify=False,  # noqa: S501  # it makes its certificate at its start, on loopback
            trust_env=False,
            timeout=60,
        )
        self._plurals: dict[tuple[str, str], tuple[str, bool]] = {}

    def close(self) -> None:
        self._client.close()

    def is_ready(self) -> bool:
        try:
            return self._client.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def create(self, manifest: dict[str, Any], namespace: str, *, dry_run: bool = False) -> httpx.Response:
        """Create an object, strictly: what is unknown in it is refused."""
        asked = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        path = self._path(manifest["apiVersion"], manifest["kind"], namespace)
        return self._client.post(path, json=manifest, params=asked)

    def listed(self, api_version: str, kind: str, namespace: str) -> dict[str, dict[str, Any]]:
        """Return the objects of a kind by name."""
        answer = self._client.get(self._path(api_version, kind, namespace))
        answer.raise_for_status()
        return {each["metadata"]["name"]: each for each in answer.json()["items"]}

    def set_status(
        self, api_version: str, kind: str, namespace: str, name: str, status: dict[str, Any]
    ) -> None:
        """Say of an object what otherwise a controller says."""
        self._client.patch(
            f"{self._path(api_version, kind, namespace)}/{name}/status",
            json={"status": status},
            headers={"Content-Type": "application/merge-patch+json"},
        ).raise_for_status()

    def knows(self, api_version: str, kind: str) -> bool:
        """Say whether there is such a kind."""
        return (api_version, kind) in self._plurals or self._discover(api_version, kind) is not None

    def _path(self, api_version: str, kind: str, namespace: str) -> str:
        found = self._plurals.get((api_version, kind)) or self._discover(api_version, kind)
        assert found is not None, f"there is no {api_version} {kind}"
        plural, namespaced = found
        within = f"/namespaces/{namespace}" if namespaced else ""
        return f"{_root(api_version)}{within}/{plural}"

    def _discover(self, api_version: str, kind: str) -> tuple[str, bool] | None:
        answer = self._client.get(_root(api_version))
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        for each in answer.raise_for_status().json()["resources"]:
            if "/" not in each["name"]:
                self._plurals[api_version, each["kind"]] = each["name"], each["namespaced"]
        return self._plurals.get((api_version, kind))


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


@contextmanager
def open_api_server() -> Iterator[ApiServer]:
    """Run an API server until the block ends.

    Raises:
        AssertionError: It is not installed; the words say how to install it.
    """
    programs = api_server()
    assert programs.is_dir(), "kube-apiserver is not installed: python -m chart.checking_tools --api-server"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store = a_free_port()
        peers = a_free_port(store)
        port = a_free_port(peers)
        key = folder / "accounts.pem"
        key.write_bytes(
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
            )
        )
        (folder / "tokens.csv").write_text(f"{_TOKEN},administrator,1,system:masters\n", encoding="ascii")
        url = f"https://127.0.0.1:{port}"
        etcd: list[Path | str] = [
            programs / "etcd",
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{store}",
            f"--advertise-client-urls=http://127.0.0.1:{store}",
            f"--listen-peer-urls=http://127.0.0.1:{peers}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}",
            f"--initial-cluster=default=http://127.0.0.1:{peers}",
            "--unsafe-no-fsync",
            "--log-level=error",
        ]
        kubernetes: list[Path | str] = [
            programs / "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{store}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={folder / 'certificates'}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            # Nobody makes the accounts that a controller makes.
            "--disable-admission-plugins=ServiceAccount",
        ]
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(_kubeconfig(url)), encoding="utf-8")
        with _running(etcd, folder / "etcd.log"), _running(kubernetes, folder / "kubernetes.log") as process:
            server = ApiServer(url, kubeconfig)
            try:
                eventually_now(
                    lambda: (server.is_ready(), process.poll(), _last_lines(folder / "kubernetes.log")),
                    lambda seen: seen[0] or seen[1] is not None,
                    seconds=_START_SECONDS,
                )
                assert process.poll() is None, _last_lines(folder / "kubernetes.log")
                yield server
            finally:
                server.close()


@contextmanager
def _running(command: list[Path | str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _last_lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]


def _kubeconfig(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "u", "user": {"token": _TOKEN}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
