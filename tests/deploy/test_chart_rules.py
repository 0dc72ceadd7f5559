"""Each rule of the chart is seen to fail: objects are broken on purpose, and the rule for it says so."""

from collections.abc import Callable
from typing import Any

import pytest

from chart_judge.releases import RELEASES, rendered
from chart_judge.rendered import Rendered
from chart_judge.rules import RULES, faults
from conftest import Counting

pytestmark = pytest.mark.chart

Breaks = Callable[[Rendered], None]


def _found(objects: Rendered, kind: str, ending: str, path: str) -> tuple[Any, Any]:
    # `~` stands for the slash within a name.
    *way, last = [int(part) if part.isdecimal() else part.replace("~", "/") for part in path.split("/")]
    inner: Any = objects.one(kind, ending)
    for part in way:
        inner = inner[part]
    return inner, last


def put(kind: str, ending: str, path: str, value: object) -> Breaks:
    """Set what stands at a path of the object of a kind whose name has an ending."""

    def breaks(objects: Rendered) -> None:
        inner, last = _found(objects, kind, ending, path)
        before = inner.get(last) if isinstance(inner, dict) else inner[last]
        assert before != value, "nothing is broken by what is there already"
        inner[last] = value

    return breaks


def drop(kind: str, ending: str, path: str) -> Breaks:
    """Take away what stands at a path."""

    def breaks(objects: Rendered) -> None:
        inner, last = _found(objects, kind, ending, path)
        del inner[last]

    return breaks


def add(kind: str, ending: str, path: str, value: object) -> Breaks:
    """Append to the list at a path."""

    def breaks(objects: Rendered) -> None:
        inner, last = _found(objects, kind, ending, path)
        inner[last].append(value)

    return breaks


def without(kind: str, ending: str) -> Breaks:
    """Take away an object."""

    def breaks(objects: Rendered) -> None:
        objects.objects.remove(objects.one(kind, ending))

    return breaks


def another(value: dict[str, Any]) -> Breaks:
    """Add an object."""

    def breaks(objects: Rendered) -> None:
        metadata = {"labels": dict(objects.objects[0]["metadata"]["labels"])} | value["metadata"]
        objects.objects.append(value | {"metadata": metadata})

    return breaks


def variable(ending: str, name: str, value: str | None) -> Breaks:
    """Give a container of a Deployment another value of a variable; None takes it away."""

    def breaks(objects: Rendered) -> None:
        [container] = objects.one("Deployment", ending)["spec"]["template"]["spec"]["containers"]
        before = container["env"]
        container["env"] = [each for each in before if each["name"] != name]
        if value is not None:
            container["env"].append({"name": name, "value": value})
        assert container["env"] != before

    return breaks


def secret_file(ending: str, path: str, name: str | None) -> Breaks:
    """Have a secret of a Deployment come from another Secret; None takes it away."""

    def breaks(objects: Rendered) -> None:
        volumes = objects.one("Deployment", ending)["spec"]["template"]["spec"]["volumes"]
        [folder] = [each["projected"] for each in volumes if each["name"] == "secrets"]
        [source] = [each for each in folder["sources"] if each["secret"]["items"][0]["path"] == path]
        if name is None:
            folder["sources"].remove(source)
        else:
            source["secret"]["name"] = name

    return breaks


POD = "spec/template/spec"
BOX = f"{POD}/containers/0"
CRON = "spec/jobTemplate/spec/template/spec"
HOOK = "metadata/annotations"

BREAKS: dict[str, dict[str, tuple[str, Breaks]]] = {
    "no pod runs as root": {
        "root is allowed": ("small", put("Deployment", "-api", f"{POD}/securityContext/runAsNonRoot", False)),
        "the user is root": ("small", put("Job", "-prepare", f"{POD}/securityContext/runAsUser", 0)),
        "the group is root's": ("small", put("Deployment", "-lag", f"{POD}/securityContext/runAsGroup", 0)),
    },
    "system calls are filtered": {
        "no profile": (
            "small",
            drop("Deployment", "-worker-vectors", f"{POD}/securityContext/seccompProfile"),
        ),
    },
    "containers have no privileges": {
        "escalation": (
            "small",
            put("Deployment", "-api", f"{BOX}/securityContext/allowPrivilegeEscalation", True),
        ),
        "privileged": ("small", put("Deployment", "-api", f"{BOX}/securityContext/privileged", True)),
        "a capability": (
            "small",
            put("Job", "-prepare", f"{POD}/initContainers/0/securityContext/capabilities/add", ["NET_ADMIN"]),
        ),
        "root after all": ("small", put("Deployment", "-api", f"{BOX}/securityContext/runAsUser", 0)),
    },
    "root file systems are read only": {
        "the root": (
            "small",
            put("Deployment", "-api", f"{BOX}/securityContext/readOnlyRootFilesystem", False),
        ),
        "secrets": ("small", put("Deployment", "-api", f"{BOX}/volumeMounts/1/readOnly", False)),
        "archives by a drill": (
            "production",
            put("CronJob", "-drill", f"{CRON}/containers/0/volumeMounts/3/readOnly", False),
        ),
        "no place for files": ("small", drop("Deployment", "-api", f"{BOX}/volumeMounts/0")),
    },
    "temporary files have a limit": {
        "none": ("small", put("Deployment", "-api", f"{POD}/volumes/0/emptyDir", {})),
    },
    "no pod has a token of the cluster": {
        "mounted": ("small", put("Deployment", "-api", f"{POD}/automountServiceAccountToken", True)),
        "services": ("small", put("Deployment", "-api", f"{POD}/enableServiceLinks", True)),
        "another account": ("small", put("Deployment", "-api", f"{POD}/serviceAccountName", "default")),
        "the account": (
            "small",
            put("ServiceAccount", "somafractalmemory", "automountServiceAccountToken", True),
        ),
    },
    "nothing of the node is reached": {
        "network": ("small", put("Deployment", "-api", f"{POD}/hostNetwork", True)),
        "folder": (
            "small",
            add("Deployment", "-api", f"{POD}/volumes", {"name": "h", "hostPath": {"path": "/"}}),
        ),
        "port": ("small", put("Deployment", "-api", f"{BOX}/ports/0/hostPort", 80)),
    },
    "containers have requests and limits": {
        "no limit of memory": ("small", drop("Deployment", "-api", f"{BOX}/resources/limits/memory")),
        "no request": ("small", drop("Job", "-prepare", f"{POD}/initContainers/1/resources/requests")),
    },
    "images are pinned": {
        "latest": ("small", put("Deployment", "-api", f"{BOX}/image", "somafractalmemory:latest")),
        "no tag": ("small", put("Deployment", "-api", f"{BOX}/image", "registry.example.com:5000/soma")),
    },
    "processes have probes": {
        "none": ("small", drop("Deployment", "-worker-postgres", f"{BOX}/livenessProbe")),
        "another path": (
            "small",
            put("Deployment", "-api", f"{BOX}/readinessProbe/httpGet/path", "/healthz"),
        ),
        "another port": ("small", put("Deployment", "-lag", f"{BOX}/ports/0/containerPort", 9464)),
        "impatient": ("small", put("Deployment", "-api", f"{BOX}/livenessProbe/timeoutSeconds", 1)),
    },
    "processes listen where probes reach them": {
        "on loopback": ("small", variable("-worker-vectors", "SOMA_WORKER__HOST", None)),
    },
    "a stop has longer than the drain": {
        "a worker": (
            "operators",
            put("Deployment", "-worker-postgres", f"{POD}/terminationGracePeriodSeconds", 30),
        ),
        "another drain": ("small", variable("-worker-vectors", "SOMA_DELIVERY__DRAIN_TIMEOUT", "600")),
        "at once": ("small", drop("Deployment", "-api", f"{BOX}/lifecycle")),
    },
    "pods of a process are spread": {
        "not": ("small", drop("Deployment", "-api", f"{POD}/topologySpreadConstraints")),
        "over zones alone": ("small", drop("Deployment", "-api", f"{POD}/topologySpreadConstraints/1")),
        "all together": (
            "small",
            drop(
                "Deployment",
                "-api",
                f"{POD}/topologySpreadConstraints/0/labelSelector/matchLabels/app.kubernetes.io~component",
            ),
        ),
    },
    "every process has a disruption budget": {
        "none": ("small", without("PodDisruptionBudget", "-lag")),
        "for another": (
            "small",
            put(
                "PodDisruptionBudget", "-lag", "spec/selector/matchLabels/app.kubernetes.io~component", "api"
            ),
        ),
        "nothing may go": ("small", put("PodDisruptionBudget", "-api", "spec/maxUnavailable", 0)),
        "what is sick stays": (
            "small",
            drop("PodDisruptionBudget", "-api", "spec/unhealthyPodEvictionPolicy"),
        ),
    },
    "an update never leaves less than there was": {
        "the API": ("small", put("Deployment", "-api", "spec/strategy/rollingUpdate/maxUnavailable", 1)),
        "a worker": (
            "small",
            put("Deployment", "-worker-postgres", "spec/strategy/rollingUpdate/maxSurge", 1),
        ),
    },
    "jobs end": {
        "a hook": ("small", drop("Job", "-prepare", "spec/activeDeadlineSeconds")),
        "two at once": ("production", put("CronJob", "-backup", "spec/concurrencyPolicy", "Allow")),
        "in which zone": ("production", drop("CronJob", "-verify", "spec/timeZone")),
        "how often": ("production", drop("CronJob", "-verify", "spec/jobTemplate/spec/backoffLimit")),
        "in place": ("production", put("CronJob", "-drill", f"{CRON}/restartPolicy", "OnFailure")),
    },
    "every pod is a process that is known": {
        "another": (
            "production",
            put(
                "CronJob",
                "-verify",
                "spec/jobTemplate/spec/template/metadata/labels/app.kubernetes.io~component",
                "x",
            ),
        ),
    },
    "nobody holds the keys all the time": {
        "a replica": ("small", put("Deployment", "-toolbox", "spec/replicas", 1)),
        "a server": ("small", put("Deployment", "-toolbox", f"{BOX}/command", ["sh", "-c", "soma serve"])),
        "a slow end": ("small", drop("Deployment", "-toolbox", f"{POD}/terminationGracePeriodSeconds")),
    },
    "no secret is written down": {
        "an object": (
            "small",
            another({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "soma-keys"}}),
        ),
        "a setting": ("small", variable("-api", "SOMA_POSTGRES__PASSWORD", "hunter2")),
        "something like it": ("small", variable("-api", "PGPASSWORD", "hunter2")),
        "in an address": (
            "small",
            variable("-api", "SOMA_REGISTRY__URL", "http://soma:hunter2@registry:8080"),
        ),
    },
    "every variable is a setting of its process": {
        "misspelt": ("small", variable("-api", "SOMA_KAFKA__BOOTSTRAP_SERVER", "kafka:9092")),
        "of another process": (
            "small",
            variable("-worker-postgres", "SOMA_VECTORS__URL", "http://qdrant:6334"),
        ),
        "a secret": (
            "small",
            put(
                "Deployment",
                "-api",
                f"{POD}/volumes/2/projected/sources/0/secret/items/0/path",
                "SOMA_POSTGRES__PASS",
            ),
        ),
        "from elsewhere": (
            "small",
            add("Deployment", "-api", f"{BOX}/env", {"name": "SOMA_LOG__LEVEL", "valueFrom": {}}),
        ),
    },
    "every file that is read is mounted": {
        "not mounted": ("production", drop("Deployment", "-api", f"{BOX}/volumeMounts/2")),
        "not read": ("production", variable("-api", "SOMA_KAFKA__SSL_CA_FILE", None)),
        "the key of archives": (
            "production",
            drop("CronJob", "-drill", f"{CRON}/containers/0/volumeMounts/2"),
        ),
        "the folder of secrets": ("small", drop("Deployment", "-api", f"{BOX}/volumeMounts/1")),
    },
    "every process would start": {
        "no number": ("small", variable("-api", "SOMA_API__MAX_BODY_BYTES", "1.6777216e+07")),
        "half a login": ("gateway", variable("-api", "SOMA_KAFKA__OAUTH_CLIENT_ID", None)),
        "no address": ("small", variable("-lag", "SOMA_KAFKA__BOOTSTRAP_SERVERS", "kafka")),
    },
    "every command is there": {
        "a command": ("small", put("Deployment", "-lag", f"{BOX}/args", ["lag", "gather"])),
        "an option": (
            "production",
            put("CronJob", "-verify", f"{CRON}/containers/0/args", ["verify", "--deep"]),
        ),
        "in a script": (
            "production",
            put("CronJob", "-drill", f"{CRON}/containers/0/args", ["soma backup try /backups/x"]),
        ),
        "none": ("production", put("CronJob", "-drill", f"{CRON}/containers/0/args", ["true"])),
    },
    "secrets are files and not variables": {
        "a variable": (
            "small",
            add(
                "Deployment",
                "-api",
                f"{BOX}/env",
                {"name": "SOMA_POSTGRES__PASSWORD", "valueFrom": {"secretKeyRef": {}}},
            ),
        ),
        "a whole object": (
            "small",
            put("Deployment", "-api", f"{BOX}/envFrom", [{"secretRef": {"name": "x"}}]),
        ),
        "another folder": ("small", variable("-api", "SOMA_SECRETS_DIR", "/secrets")),
        "for all": ("small", put("Deployment", "-api", f"{POD}/volumes/2/projected/defaultMode", 0o444)),
        "all keys": (
            "small",
            add("Deployment", "-api", f"{POD}/volumes", {"name": "x", "secret": {"secretName": "x"}}),
        ),
    },
    "nothing is encrypted on paper alone": {
        "brokers": ("production", variable("-lag", "SOMA_KAFKA__SECURITY_PROTOCOL", "PLAINTEXT")),
        "registry": (
            "production",
            variable("-api", "SOMA_REGISTRY__URL", "http://registry.registry.svc:8443"),
        ),
        "PostgreSQL": ("production", variable("-worker-vectors", "SOMA_POSTGRES__SSLMODE", "prefer")),
        "the CA of brokers": ("production", variable("-lag", "SOMA_KAFKA__SSL_CA_FILE", "/etc/ssl/ca.pem")),
        "the CA of PostgreSQL": ("production", variable("-api", "SOMA_POSTGRES__CA_FILE", None)),
        "a password": ("production", secret_file("-api", "SOMA_POSTGRES__PASSWORD", None)),
    },
    "whoever logs in to brokers has one secret for it": {
        "no password": ("production", secret_file("-api", "SOMA_KAFKA__SASL_PASSWORD", None)),
        "no secret of a client": ("gateway", secret_file("-lag", "SOMA_KAFKA__OAUTH_CLIENT_SECRET", None)),
        "a password where tokens are shown": (
            "production",
            variable("-api", "SOMA_KAFKA__OAUTH_TOKEN_URL", "https://login.example.com/token"),
        ),
    },
    "nothing is allowed by default": {
        "no policy": ("small", without("NetworkPolicy", "-default-deny")),
        "what goes out": ("small", put("NetworkPolicy", "-default-deny", "spec/policyTypes", ["Ingress"])),
        "some pods": (
            "small",
            put(
                "NetworkPolicy",
                "-default-deny",
                "spec/podSelector/matchLabels/app.kubernetes.io~component",
                "api",
            ),
        ),
    },
    "names can be looked up": {
        "over TCP": ("small", drop("NetworkPolicy", "-worker-postgres", "spec/egress/0/ports/1")),
        "by a hook": ("small", drop("NetworkPolicy", "-prepare", "spec/egress/0")),
    },
    "each address in the settings can be reached": {
        "not allowed": ("small", drop("NetworkPolicy", "-api", "spec/egress/2")),
        "another port": (
            "small",
            variable("-lag", "SOMA_KAFKA__BOOTSTRAP_SERVERS", "kafka-bootstrap.kafka.svc:9093"),
        ),
        "another namespace": (
            "small",
            variable("-worker-vectors", "SOMA_VECTORS__URL", "http://qdrant.vectors.svc:6334"),
        ),
        "for commands": ("production", without("NetworkPolicy", "-jobs")),
        "pods of another cluster": (
            "operators",
            variable("-api", "SOMA_KAFKA__BOOTSTRAP_SERVERS", "other-kafka-bootstrap:9093"),
        ),
        "a store whose address is a secret": (
            "production",
            put("NetworkPolicy", "-api", "spec/egress/1/ports/0/port", 6380),
        ),
        "a setting that is new": (
            "small",
            variable("-api", "SOMA_OIDC__JWKS_URL", "https://login.example.com/keys"),
        ),
    },
    "nothing is allowed that no setting names": {
        "a port": (
            "small",
            add("NetworkPolicy", "-lag", "spec/egress/1/ports", {"protocol": "TCP", "port": 22}),
        ),
        "anywhere": ("small", drop("NetworkPolicy", "-lag", "spec/egress/1/to")),
        "every port": ("small", drop("NetworkPolicy", "-lag", "spec/egress/1/ports")),
        "a setting that is gone": ("gateway", variable("-api", "SOMA_TRACING__ENDPOINT", None)),
        "the world": (
            "gateway",
            put("NetworkPolicy", "-lag", "spec/egress/1/to/0/ipBlock/cidr", "0.0.0.0/0"),
        ),
    },
    "whoever is called within the release answers": {
        "not the API": (
            "small",
            put(
                "NetworkPolicy",
                "-lag",
                "spec/ingress/0/from/0/podSelector/matchExpressions/0/values",
                ["prepare"],
            ),
        ),
        "another port": ("small", put("NetworkPolicy", "-lag", "spec/ingress/0/ports/0/port", 80)),
        "nobody there": ("small", without("Deployment", "-lag")),
    },
    "nobody else is let in": {
        "a port": (
            "small",
            add("NetworkPolicy", "-lag", "spec/ingress/0/ports", {"protocol": "TCP", "port": 22}),
        ),
        "everybody": ("small", put("NetworkPolicy", "-lag", "spec/ingress/0/from", [])),
        "who does not call": (
            "small",
            add(
                "NetworkPolicy",
                "-lag",
                "spec/ingress/0/from/0/podSelector/matchExpressions/0/values",
                "worker-postgres",
            ),
        ),
    },
    "prometheus is let in": {
        "not to a worker": ("production", drop("NetworkPolicy", "-worker-postgres", "spec/ingress")),
    },
    "clients are let in": {
        "not": ("production", drop("NetworkPolicy", "-api", "spec/ingress/0/from/1")),
    },
    "services lead to pods": {
        "nowhere": ("small", put("Service", "-api", "spec/selector/app.kubernetes.io~component", "web")),
        "another port": ("small", put("Service", "-api", "spec/ports/0/targetPort", "web")),
        "out of the cluster": ("small", put("Service", "-api", "spec/type", "LoadBalancer")),
    },
    "what is scaled has no fixed number": {
        "both": ("gateway", put("Deployment", "-api", "spec/replicas", 2)),
        "neither": ("small", drop("Deployment", "-api", "spec/replicas")),
        "nothing": ("gateway", put("HorizontalPodAutoscaler", "-api", "spec/scaleTargetRef/name", "web")),
    },
    "the api is scaled by its load": {
        "one alone": ("gateway", put("HorizontalPodAutoscaler", "-api", "spec/minReplicas", 1)),
        "a worker": (
            "gateway",
            put("HorizontalPodAutoscaler", "-api", "spec/scaleTargetRef/name", "soma-somafractalmemory-lag"),
        ),
        "memory": (
            "gateway",
            put("HorizontalPodAutoscaler", "-api", "spec/metrics/0/resource/name", "memory"),
        ),
    },
    "workers are never more than partitions": {
        "scaled": ("operators", put("ScaledObject", "-worker-postgres", "spec/maxReplicaCount", 25)),
        "fixed": ("small", put("Deployment", "-worker-vectors", "spec/replicas", 7)),
    },
    "workers are scaled by what the collector tells": {
        "none": ("operators", put("ScaledObject", "-worker-postgres", "spec/minReplicaCount", 0)),
        "no fallback": ("operators", drop("ScaledObject", "-worker-postgres", "spec/fallback")),
        "another address": (
            "operators",
            put(
                "ScaledObject",
                "-worker-postgres",
                "spec/triggers/0/metadata/url",
                "http://soma-somafractalmemory-lag.soma.svc:9464/v1/lag",
            ),
        ),
        "another path": (
            "operators",
            put(
                "ScaledObject",
                "-worker-postgres",
                "spec/triggers/0/metadata/url",
                "http://soma-somafractalmemory-lag.soma.svc:9465/lag",
            ),
        ),
        "another field": (
            "operators",
            put(
                "ScaledObject",
                "-worker-postgres",
                "spec/triggers/0/metadata/valueLocation",
                'groups.#(group=="eu.soma-postgres").lag',
            ),
        ),
        "another group": (
            "operators",
            put(
                "ScaledObject",
                "-worker-postgres",
                "spec/triggers/0/metadata/valueLocation",
                'groups.#(group=="soma-postgres").lag_records',
            ),
        ),
        "no number": (
            "operators",
            put("ScaledObject", "-worker-postgres", "spec/triggers/0/metadata/targetValue", "2e+03"),
        ),
    },
    "the edge has tls": {
        "no certificate": ("production", drop("Ingress", "somafractalmemory", "spec/tls")),
        "no redirect": (
            "production",
            drop("Ingress", "somafractalmemory", f"{HOOK}/nginx.ingress.kubernetes.io~force-ssl-redirect"),
        ),
        "a route beside it": (
            "gateway",
            put("HTTPRoute", "somafractalmemory", "spec/parentRefs/0/sectionName", "http"),
        ),
        "no way to it": ("gateway", put("HTTPRoute", "-to-https", "spec/rules/0/filters", [])),
        "any host": ("gateway", drop("Gateway", "somafractalmemory", "spec/listeners/1/hostname")),
        "a listener without": ("gateway", drop("Gateway", "somafractalmemory", "spec/listeners/0/tls")),
    },
    "the edge leads to the api": {
        "a worker": (
            "production",
            put("Ingress", "somafractalmemory", "spec/rules/0/http/paths/0/backend/service/name", "soma-lag"),
        ),
        "everything": (
            "production",
            put("Ingress", "somafractalmemory", "spec/rules/0/http/paths/0/path", "/"),
        ),
        "a port": ("gateway", put("HTTPRoute", "somafractalmemory", "spec/rules/0/backendRefs/0/port", 80)),
        "all of it": ("gateway", drop("HTTPRoute", "somafractalmemory", "spec/rules/0/matches")),
    },
    "the edge has limits": {
        name: (
            "production",
            drop("Ingress", "somafractalmemory", f"{HOOK}/nginx.ingress.kubernetes.io~{name}"),
        )
        for name in (
            "proxy-body-size",
            "proxy-read-timeout",
            "limit-rps",
            "limit-connections",
            "proxy-buffering",
            "whitelist-source-range",
            "enable-modsecurity",
            "enable-owasp-core-rules",
        )
    },
    "the api is spoken to as it speaks": {
        "a probe": ("tls_inside", drop("Deployment", "-api", f"{BOX}/readinessProbe/httpGet/scheme")),
        "without": ("small", put("Deployment", "-api", f"{BOX}/readinessProbe/httpGet/scheme", "HTTPS")),
        "an ingress": (
            "tls_inside",
            drop("Ingress", "somafractalmemory", f"{HOOK}/nginx.ingress.kubernetes.io~backend-protocol"),
        ),
        "a gateway": ("tls_inside", without("BackendTLSPolicy", "somafractalmemory")),
        "another name": (
            "tls_inside",
            put("BackendTLSPolicy", "somafractalmemory", "spec/validation/hostname", "memory.example.org"),
        ),
        "Prometheus": ("tls_inside", drop("ServiceMonitor", "-api", "spec/endpoints/0/scheme")),
        "anybody": (
            "tls_inside",
            put("ServiceMonitor", "-api", "spec/endpoints/0/tlsConfig", {"insecureSkipVerify": True}),
        ),
    },
    "certificates are for what they are used for": {
        "another host": ("production", put("Certificate", "-tls", "spec/dnsNames", ["www.example.com"])),
        "another secret": ("gateway", put("Certificate", "-tls", "spec/secretName", "other")),
        "the same key": ("gateway", put("Certificate", "-tls", "spec/privateKey/rotationPolicy", "Never")),
    },
    "every process is scraped": {
        "not": ("production", without("PodMonitor", "-worker-retention")),
        "twice": (
            "production",
            put(
                "PodMonitor",
                "-worker-retention",
                "spec/selector/matchLabels/app.kubernetes.io~component",
                "worker-vectors",
            ),
        ),
        "elsewhere": ("production", put("ServiceMonitor", "-lag", "spec/endpoints/0/path", "/v1/lag")),
        "under another name": (
            "production",
            put("ServiceMonitor", "-lag", "spec/endpoints/0/relabelings/0/replacement", "lag"),
        ),
        "without a key": ("production", drop("ServiceMonitor", "-api", "spec/endpoints/0/authorization")),
    },
    "alerts are those of the repository": {
        "a group is missing": ("operators", drop("PrometheusRule", "somafractalmemory", "spec/groups/0")),
        "a rule is another": (
            "production",
            put("PrometheusRule", "somafractalmemory", "spec/groups/0/rules/0/expr", "vector(0)"),
        ),
    },
    "dashboards are those of the repository": {
        "missing": ("operators", without("ConfigMap", "-soma-lag")),
        "changed": ("operators", put("ConfigMap", "-soma-lag", "data/soma-lag.json", "{}")),
        "too large": ("operators", put("ConfigMap", "-soma-lag", "data/more", "x" * 1_000_000)),
    },
    "nothing that keeps data is made by hand": {
        "a set": (
            "small",
            another({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "kafka"}}),
        ),
        "a volume that goes": (
            "production",
            drop("PersistentVolumeClaim", "-backups", f"{HOOK}/helm.sh~resource-policy"),
        ),
        "a log that goes": ("operators", drop("Kafka", "-kafka", HOOK)),
    },
    "topics are as they are declared": {
        "missing": ("operators", without("KafkaTopic", "-memory.keys")),
        "another name": ("operators", put("KafkaTopic", "-memory.keys", "spec/topicName", "memory.keys")),
        "partitions": ("operators", put("KafkaTopic", "-memory.events", "spec/partitions", 6)),
        "replicas": ("operators", put("KafkaTopic", "-memory.events", "spec/replicas", 1)),
        "configuration": (
            "operators",
            put("KafkaTopic", "-memory.events", "spec/config/cleanup.policy", "compact"),
        ),
    },
    "brokers take nobody without tls and a name": {
        "no TLS": ("operators", put("Kafka", "-kafka", "spec/kafka/listeners/0/tls", False)),
        "anybody": ("operators", drop("Kafka", "-kafka", "spec/kafka/listeners/0/authentication")),
        "any pod": ("operators", drop("Kafka", "-kafka", "spec/kafka/listeners/0/networkPolicyPeers")),
        "from outside": ("operators", put("Kafka", "-kafka", "spec/kafka/listeners/0/type", "loadbalancer")),
        "no rights": ("operators", drop("Kafka", "-kafka", "spec/kafka/authorization")),
        "topics by themselves": (
            "operators",
            put("Kafka", "-kafka", "spec/kafka/config/auto.create.topics.enable", True),
        ),
        "unclean": ("operators", drop("Kafka", "-kafka", "spec/kafka/config/unclean.leader.election.enable")),
        "one copy": (
            "operators",
            put("Kafka", "-kafka", "spec/kafka/config/offsets.topic.replication.factor", 1),
        ),
        "too few": ("operators", put("KafkaNodePool", "-brokers", "spec/replicas", 2)),
    },
    "each process has its own user of kafka": {
        "none": ("operators", without("KafkaUser", "-worker-vectors")),
        "shared": ("operators", variable("-lag", "SOMA_KAFKA__SASL_USERNAME", "soma-somafractalmemory-api")),
        "another's password": (
            "operators",
            secret_file("-lag", "SOMA_KAFKA__SASL_PASSWORD", "soma-somafractalmemory-operator"),
        ),
    },
    "users of kafka may do what is declared": {
        "the API": (
            "operators",
            add(
                "KafkaUser",
                "-api",
                "spec/authorization/acls",
                {"resource": {"type": "topic", "name": "eu.memory.events.dlq"}, "operations": ["Write"]},
            ),
        ),
        "the collector": (
            "operators",
            add(
                "KafkaUser",
                "-lag",
                "spec/authorization/acls",
                {"resource": {"type": "topic", "name": "*"}, "operations": ["Write"]},
            ),
        ),
        "not any more": ("operators", put("KafkaUser", "-api", "spec/authorization/acls", [])),
        "anybody": ("operators", put("KafkaUser", "-operator", "spec/authentication/type", "none")),
        "everything": (
            "operators",
            add(
                "KafkaUser",
                "-operator",
                "spec/authorization/acls",
                {"resource": {"type": "cluster"}, "operations": ["All"]},
            ),
        ),
    },
    "logins of postgresql have one role each": {
        "superuser": ("operators", put("Cluster", "-postgres", "spec/enableSuperuserAccess", True)),
        "past row security": (
            "operators",
            put("Cluster", "-postgres", "spec/managed/roles/4/bypassrls", True),
        ),
        "another role": (
            "operators",
            put("Cluster", "-postgres", "spec/managed/roles/4/inRoles", ["soma_sinks"]),
        ),
        "makes roles": ("operators", put("Cluster", "-postgres", "spec/managed/roles/3/createrole", True)),
        "no login": ("operators", put("Cluster", "-postgres", "spec/managed/roles/3/login", False)),
        "one password": (
            "operators",
            put("Cluster", "-postgres", "spec/managed/roles/3/passwordSecret/name", "soma-postgres-owner"),
        ),
    },
    "postgresql survives the loss of a node": {
        "one copy": ("operators", put("Cluster", "-postgres", "spec/instances", 1)),
        "later": ("operators", drop("Cluster", "-postgres", "spec/postgresql/synchronous")),
        "half an archive": ("operators", without("ScheduledBackup", "-postgres")),
        "minutes first": ("operators", put("ScheduledBackup", "-postgres", "spec/schedule", "30 1 * * *")),
    },
    "addresses of operators are those that they make": {
        "brokers": ("operators", variable("-api", "SOMA_KAFKA__BOOTSTRAP_SERVERS", "kafka:9092")),
        "PostgreSQL": ("operators", variable("-api", "SOMA_POSTGRES__HOST", "postgres")),
    },
    "objects can be told apart": {
        "no labels": ("small", drop("Service", "-api", "metadata/labels/helm.sh~chart")),
        "elsewhere": ("small", put("Service", "-api", "metadata/namespace", "default")),
        "twice": ("small", put("Service", "-lag", "metadata/name", "soma-somafractalmemory-api")),
        "too long": ("production", put("CronJob", "-verify", "metadata/name", "x" * 53)),
    },
    "selectors hold through an upgrade": {
        "the version": (
            "small",
            put("Deployment", "-api", "spec/selector/matchLabels/app.kubernetes.io~version", "0.1.0"),
        ),
        "not its own": (
            "small",
            put("Deployment", "-api", "spec/selector/matchLabels/app.kubernetes.io~component", "lag"),
        ),
    },
    "a release is prepared in order": {
        "not": ("small", without("Job", "-prepare")),
        "tables first": ("small", put("Job", "-prepare", f"{POD}/initContainers/0/args", ["migrate"])),
        "too late": ("small", put("Job", "-prepare", f"{HOOK}/helm.sh~hook", "post-install,pre-upgrade")),
        "too early": ("operators", put("Job", "-prepare", f"{HOOK}/helm.sh~hook", "pre-install,pre-upgrade")),
        "once": ("small", drop("Job", "-prepare", f"{HOOK}/helm.sh~hook-delete-policy")),
        "before its account": (
            "small",
            put("ServiceAccount", "-prepare", f"{HOOK}/helm.sh~hook-weight", "5"),
        ),
    },
    "archives are kept and tried": {
        "nowhere": ("production", drop("CronJob", "-backup", f"{CRON}/volumes/3")),
        "others": (
            "production",
            put("CronJob", "-drill", f"{CRON}/volumes/3/persistentVolumeClaim/claimName", "others"),
        ),
        "not": ("production", without("CronJob", "-drill")),
        "in the clear": (
            "production",
            put("CronJob", "-backup", f"{CRON}/containers/0/args", ["soma backup -o /backups"]),
        ),
    },
}


def test_each_rule_is_broken_here() -> None:
    assert BREAKS.keys() == RULES.keys()
    assert all(BREAKS.values())


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_not_broken_breaks_no_rule(release: str) -> None:
    assert faults(rendered(release)) == {}


@pytest.mark.parametrize(
    ("name", "how"), [(name, how) for name, ways in BREAKS.items() for how in ways], ids=lambda each: each
)
def test_a_rule_tells_what_breaks_it(name: str, how: str, counting: Counting) -> None:
    release, breaks = BREAKS[name][how]
    objects = rendered(release).copy()

    breaks(objects)

    assert [check for check in RULES[name](objects) if check.fault is not None]
    counting("rules broken on purpose, each told by its own rule", 1)
