"""What may be called is what the settings lead to, no less and no more."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from chart_judge.checking import Check, check, rule
from chart_judge.process_settings import RATE_LIMIT_STORE, handed_over
from chart_judge.rendered import NAMESPACE, Object, Pod, Rendered, environment_of, selects

_NAMESPACE_LABEL = "kubernetes.io/metadata.name"
_DNS = 53
_HOST_PORT = re.compile(r"^[\w.-]+:[0-9]+(,[\w.-]+:[0-9]+)*$")
_USUAL_PORTS = {"http": 80, "https": 443}
_QDRANT_GRPC = 6334
# Its address is a secret: what is known is its usual port.
_STORE_OF_LIMITS, _STORE_PORT = "rate_limit_store", 6379


@dataclass(frozen=True, order=True)
class Destination:
    """Where a process connects to, by its settings."""

    part: str
    host: str
    port: int

    @property
    def namespace(self) -> str | None:
        """The namespace of a service; None outside of the cluster."""
        if "." not in self.host:
            return NAMESPACE
        named = re.search(r"\.([^.]+)\.svc(\.|$)", self.host)
        return named[1] if named else None


def destinations(pod: Pod) -> set[Destination]:
    """Return what all addresses in the environment of a pod lead to, whatever their settings are called."""
    found = set()
    for container in pod.containers:
        environment = environment_of(container)
        if RATE_LIMIT_STORE in handed_over(pod, container)[0]:
            found.add(Destination(_STORE_OF_LIMITS, "somewhere", _STORE_PORT))
        for name, value in environment.items():
            part = name.removeprefix("SOMA_").partition("__")[0].lower()
            if value.startswith(("http://", "https://")) and not name.endswith(("ISSUER", "CORS_ORIGINS")):
                address = urlsplit(value)
                usual = _QDRANT_GRPC if part == "vectors" else _USUAL_PORTS[address.scheme]
                found.add(Destination(part, address.hostname or "", address.port or usual))
            elif _HOST_PORT.match(value):
                for each in value.split(","):
                    host, _, port = each.rpartition(":")
                    found.add(Destination(part, host, int(port)))
            elif name.endswith("__HOST") and part == "postgres" and not value.startswith("/"):
                found.add(Destination(part, value, int(environment.get("SOMA_POSTGRES__PORT", "5432"))))
    return found


def policies_of(rendered: Rendered, pod: Pod) -> list[Object]:
    return [
        each for each in rendered.of_kind("NetworkPolicy") if selects(each["spec"]["podSelector"], pod.labels)
    ]


def _rules(policies: list[Object], direction: str, peers: str) -> list[tuple[Object, int, str]]:
    """Return each peer with each of its ports."""
    return [
        (peer, port["port"], port["protocol"])
        for policy in policies
        for each in policy["spec"].get(direction) or []
        for peer in each.get(peers) or [{}]
        for port in each.get("ports") or [{"port": 0, "protocol": "any"}]
    ]


def _egress(rendered: Rendered, pod: Pod) -> list[tuple[Object, int, str]]:
    return _rules(policies_of(rendered, pod), "egress", "to")


def _is_expected(rendered: Rendered) -> bool:
    return "no network policies" not in rendered.expectations


@rule
def nothing_is_allowed_by_default(rendered: Rendered) -> Iterator[Check]:
    if not _is_expected(rendered):
        return
    for pod in rendered.pods():
        policies = policies_of(rendered, pod)
        closed = {kind for policy in policies for kind in policy["spec"].get("policyTypes", [])}
        yield check(pod.name, closed == {"Ingress", "Egress"}, f"policies close {sorted(closed)}")
        bare = [each for each in policies if "ingress" not in each["spec"] and "egress" not in each["spec"]]
        denied = {kind for policy in bare for kind in policy["spec"].get("policyTypes", [])}
        yield check(pod.name, denied == {"Ingress", "Egress"}, "no policy denies everything else")


@rule
def names_can_be_looked_up(rendered: Rendered) -> Iterator[Check]:
    if not _is_expected(rendered):
        return
    for pod in rendered.pods():
        protocols = {protocol for _, port, protocol in _egress(rendered, pod) if port == _DNS}
        yield check(pod.name, protocols == {"UDP", "TCP"}, f"DNS goes over {sorted(protocols)}")


@rule
def each_address_in_the_settings_can_be_reached(rendered: Rendered) -> Iterator[Check]:
    if not _is_expected(rendered):
        return
    for pod in rendered.pods():
        allowed = _egress(rendered, pod)
        for to in sorted(destinations(pod)):
            reached = any(port == to.port and _leads_to(rendered, peer, to) for peer, port, _ in allowed)
            yield check(pod.name, reached, f"{to.part} at {to.host}:{to.port} is not allowed")


@rule
def nothing_is_allowed_that_no_setting_names(rendered: Rendered) -> Iterator[Check]:
    if not _is_expected(rendered):
        return
    for pod in rendered.pods():
        wanted = destinations(pod)
        for peer, port, protocol in _egress(rendered, pod):
            needed = any(to.port == port and _leads_to(rendered, peer, to) for to in wanted)
            dns = port == _DNS and _names(peer) == {"kube-system"}
            yield check(pod.name, needed or dns, f"{protocol} {port} to {peer} is for no setting")
            yield check(pod.name, peer, f"{protocol} {port} goes anywhere")
            cidr = peer.get("ipBlock", {}).get("cidr", "")
            yield check(pod.name, not cidr.endswith("/0"), f"{protocol} {port} goes to the whole world")


def _names(peer: Object) -> set[str]:
    """Return the namespaces that a peer means."""
    labels = peer.get("namespaceSelector", {}).get("matchLabels", {})
    if _NAMESPACE_LABEL in labels:
        return {labels[_NAMESPACE_LABEL]}
    return {NAMESPACE} if "podSelector" in peer and "namespaceSelector" not in peer else set()


def _leads_to(rendered: Rendered, peer: Object, to: Destination) -> bool:
    if to.part == _STORE_OF_LIMITS:
        return bool(peer)
    if to.namespace is None:
        return "ipBlock" in peer
    if to.namespace not in _names(peer):
        return False
    own = [each for each in rendered.of_kind("Service") if each["metadata"]["name"] == to.host]
    if not own:
        # Somebody else's, or one that an operator makes: it names its pods itself.
        selector = peer.get("podSelector", {}).get("matchLabels", {})
        made = selector.get("strimzi.io/cluster") or selector.get("cnpg.io/cluster") or ""
        return not made or to.host.startswith(made)
    served = [
        pod
        for pod in rendered.deployments()
        if selects({"matchLabels": own[0]["spec"]["selector"]}, pod.labels)
    ]
    return bool(served) and all(selects(peer.get("podSelector", {}), pod.labels) for pod in served)


@rule
def whoever_is_called_within_the_release_answers(rendered: Rendered) -> Iterator[Check]:
    """What one pod's policy lets out, the other's lets in."""
    if not _is_expected(rendered):
        return
    services = {each["metadata"]["name"]: each for each in rendered.of_kind("Service")}
    for pod in rendered.pods():
        for to in sorted(destinations(pod)):
            if to.host not in services:
                continue
            selector = {"matchLabels": services[to.host]["spec"]["selector"]}
            served = [other for other in rendered.deployments() if selects(selector, other.labels)]
            yield check(pod.name, served, f"nobody is behind {to.host}")
            for other in served:
                let_in = any(
                    port == to.port
                    and "namespaceSelector" not in peer
                    and selects(peer.get("podSelector", {}), pod.labels)
                    for peer, port, _ in _rules(policies_of(rendered, other), "ingress", "from")
                    if "podSelector" in peer
                )
                yield check(pod.name, let_in, f"{other.name} does not let it in")


@rule
def nobody_else_is_let_in(rendered: Rendered) -> Iterator[Check]:
    """Only a port that a process has, only from whom it is for."""
    if not _is_expected(rendered):
        return
    for pod in rendered.pods():
        ports = {port["containerPort"] for container in pod.containers for port in container.get("ports", [])}
        for peer, port, protocol in _rules(policies_of(rendered, pod), "ingress", "from"):
            yield check(pod.name, port in ports, f"{protocol} {port} is open, and nothing listens there")
            yield check(pod.name, peer, f"{protocol} {port} is open to all")
            if _names(peer) == {NAMESPACE}:
                calling = [
                    other.component
                    for other in rendered.pods()
                    if selects(peer["podSelector"], other.labels)
                    and not any(_serves(rendered, to, pod) for to in destinations(other))
                ]
                yield check(pod.name, not calling, f"{calling} are let in, and do not call it")


def _serves(rendered: Rendered, to: Destination, pod: Pod) -> bool:
    return any(
        selects({"matchLabels": each["spec"]["selector"]}, pod.labels)
        for each in rendered.of_kind("Service")
        if each["metadata"]["name"] == to.host
    )


@rule
def prometheus_is_let_in(rendered: Rendered) -> Iterator[Check]:
    if not _is_expected(rendered) or not rendered.of_kind("ServiceMonitor", "PodMonitor"):
        return
    for pod in rendered.deployments():
        names = [_names(peer) for peer, _, _ in _rules(policies_of(rendered, pod), "ingress", "from")]
        yield check(pod.name, {"monitoring"} in names, "Prometheus cannot scrape it")


@rule
def clients_are_let_in(rendered: Rendered) -> Iterator[Check]:
    if not _is_expected(rendered) or not rendered.of_kind("Ingress", "Gateway"):
        return
    for pod in rendered.deployments():
        if pod.component == "api":
            names = [_names(peer) for peer, _, _ in _rules(policies_of(rendered, pod), "ingress", "from")]
            yield check(pod.name, {"ingress"} in names, "the ingress controller cannot call it")


@rule
def services_lead_to_pods(rendered: Rendered) -> Iterator[Check]:
    for each in rendered.of_kind("Service"):
        name = f"Service {each['metadata']['name']}"
        served = [
            pod
            for pod in rendered.deployments()
            if selects({"matchLabels": each["spec"]["selector"]}, pod.labels)
        ]
        yield check(name, len(served) == 1, f"it leads to {[pod.name for pod in served]}")
        yield check(
            name, each["spec"].get("type", "ClusterIP") == "ClusterIP", "it is open outside of the cluster"
        )
        for port in each["spec"]["ports"]:
            ports = {
                listening["name"]: listening["containerPort"]
                for pod in served
                for container in pod.containers
                for listening in container.get("ports", [])
            }
            yield check(name, ports.get(port["targetPort"]) == port["port"], f"port {port} leads nowhere")
