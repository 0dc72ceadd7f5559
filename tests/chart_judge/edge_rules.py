"""What clients meet first: TLS, limits, and no way beside them."""

from collections.abc import Iterator

from chart_judge.checking import Check, check, rule
from chart_judge.process_settings import values_of
from chart_judge.rendered import NAMESPACE, Pod, Rendered, environment_of

_NGINX = "nginx.ingress.kubernetes.io/"


def _services(rendered: Rendered) -> dict[str, set[object]]:
    return {
        each["metadata"]["name"]: {
            part for port in each["spec"]["ports"] for part in (port["name"], port["port"])
        }
        for each in rendered.of_kind("Service")
    }


@rule
def the_edge_has_tls(rendered: Rendered) -> Iterator[Check]:
    for each in rendered.of_kind("Ingress"):
        name = f"Ingress {each['metadata']['name']}"
        secured = {
            host for tls in each["spec"].get("tls", []) for host in tls["hosts"] if tls.get("secretName")
        }
        hosts = {one.get("host") for one in each["spec"]["rules"]}
        yield check(name, hosts == secured, f"{hosts - secured} have no certificate")
        forced = each["metadata"].get("annotations", {}).get(f"{_NGINX}force-ssl-redirect")
        yield check(name, forced == "true", "it answers without TLS")
    for each in rendered.of_kind("Gateway"):
        name = f"Gateway {each['metadata']['name']}"
        listeners = {one["name"]: one for one in each["spec"]["listeners"]}
        for one in listeners.values():
            if one["protocol"] == "HTTPS":
                tls = one.get("tls", {})
                yield check(
                    name, tls.get("mode") == "Terminate" and tls.get("certificateRefs"), "no certificate"
                )
            yield check(name, one.get("hostname"), f"listener {one['name']} takes any host")
        for route in rendered.of_kind("HTTPRoute"):
            [parent] = route["spec"]["parentRefs"]
            listener = listeners.get(parent.get("sectionName", ""), {})
            led_on = any("backendRefs" in one for one in route["spec"]["rules"])
            about = f"HTTPRoute {route['metadata']['name']}"
            yield check(about, not led_on or listener.get("protocol") == "HTTPS", "it leads on without TLS")
            redirected = [
                one["requestRedirect"].get("scheme")
                for rules in route["spec"]["rules"]
                for one in rules.get("filters", [])
            ]
            yield check(about, led_on or redirected == ["https"], "it leads nowhere")


@rule
def the_edge_leads_to_the_api(rendered: Rendered) -> Iterator[Check]:
    services = _services(rendered)
    for each in rendered.of_kind("Ingress"):
        for path in (path for one in each["spec"]["rules"] for path in one["http"]["paths"]):
            to = path["backend"]["service"]
            there = to["name"].endswith("-api") and to["port"].get("name") in services.get(to["name"], set())
            yield check(f"Ingress {each['metadata']['name']}", there, f"{path['path']} leads to {to}")
            yield check(
                f"Ingress {each['metadata']['name']}",
                path["path"] != "/",
                "metrics and probes are led on, too",
            )
    for each in rendered.of_kind("HTTPRoute"):
        for one in each["spec"]["rules"]:
            for to in one.get("backendRefs", []):
                there = to["name"].endswith("-api") and to["port"] in services.get(to["name"], set())
                yield check(f"HTTPRoute {each['metadata']['name']}", there, f"it leads to {to}")
                paths = [match["path"]["value"] for match in one.get("matches", [])]
                yield check(
                    f"HTTPRoute {each['metadata']['name']}",
                    paths and "/" not in paths,
                    f"it leads on {paths}",
                )


@rule
def the_edge_has_limits(rendered: Rendered) -> Iterator[Check]:
    api = next((values_of(pod) for pod in rendered.deployments() if pod.component == "api"), {}).get(
        "api", {}
    )
    for each in rendered.of_kind("Ingress"):
        name = f"Ingress {each['metadata']['name']}"
        said = {
            key.removeprefix(_NGINX): value for key, value in each["metadata"].get("annotations", {}).items()
        }
        body = api.get("max_body_bytes")
        yield check(
            name,
            said.get("proxy-body-size") == str(body),
            f"bodies up to {said.get('proxy-body-size')}, the API takes {body}",
        )
        wait = api["max_wait"].total_seconds() if api else 0
        yield check(
            name, int(said.get("proxy-read-timeout", "0")) > wait, f"it gives up before a wait of {wait} s"
        )
        for limit in ("limit-rps", "limit-connections"):
            yield check(name, int(said.get(limit, "0")) > 0, f"{limit} is not set")
        yield check(name, said.get("proxy-buffering") == "off", "streams of changes come late")
        if "edge is closed" in rendered.expectations:
            yield check(name, said.get("whitelist-source-range"), "it takes requests from everywhere")
            waf = said.get("enable-modsecurity") == said.get("enable-owasp-core-rules") == "true"
            yield check(
                name,
                waf,
                "there is no firewall",
            )


@rule
def certificates_are_for_what_they_are_used_for(rendered: Rendered) -> Iterator[Check]:
    used: dict[str, set[str]] = {}
    for each in rendered.of_kind("Ingress"):
        for tls in each["spec"].get("tls", []):
            used.setdefault(tls["secretName"], set()).update(tls["hosts"])
    for each in rendered.of_kind("Gateway"):
        for one in each["spec"]["listeners"]:
            for reference in one.get("tls", {}).get("certificateRefs", []):
                used.setdefault(reference["name"], set()).add(one["hostname"])
    for each in rendered.of_kind("Certificate"):
        name = f"Certificate {each['metadata']['name']}"
        hosts = used.get(each["spec"]["secretName"])
        yield check(
            name,
            hosts == set(each["spec"]["dnsNames"]),
            f"it is for {each['spec']['dnsNames']}, used for {hosts}",
        )
        yield check(
            name,
            each["spec"].get("privateKey", {}).get("rotationPolicy") == "Always",
            "its key stays for ever",
        )


@rule
def the_api_is_spoken_to_as_it_speaks(rendered: Rendered) -> Iterator[Check]:
    """With a certificate of its own by TLS, otherwise without, by everybody."""
    for pod in rendered.deployments():
        if pod.component != "api":
            continue
        tls = "SOMA_API__TLS_CERTIFICATE_FILE" in environment_of(pod.spec["containers"][0])
        for speaker, spoken in _schemes(rendered, pod):
            wanted = "HTTPS" if tls else "HTTP"
            yield check(speaker, spoken == wanted, f"it speaks {spoken}, the API {wanted}")
        for each in rendered.of_kind("BackendTLSPolicy"):
            named = each["spec"]["validation"].get("hostname")
            yield check(
                each["metadata"]["name"], named == _inside(pod), f"it wants a certificate for {named}"
            )
        for each in rendered.of_kind("ServiceMonitor"):
            told = each["spec"]["endpoints"][0].get("tlsConfig")
            proven = told is None or (told.get("serverName") == _inside(pod) and "ca" in told)
            yield check(each["metadata"]["name"], proven, "anybody can be the API")


def _schemes(rendered: Rendered, api: Pod) -> Iterator[tuple[str, str]]:
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = api.spec["containers"][0].get(probe, {}).get("httpGet", {})
        yield f"{api.name}, {probe}", asked.get("scheme", "HTTP")
    for each in rendered.of_kind("Ingress"):
        annotations = each["metadata"].get("annotations", {})
        yield each["metadata"]["name"], annotations.get(f"{_NGINX}backend-protocol", "HTTP")
    targets = [
        to["name"] for policy in rendered.of_kind("BackendTLSPolicy") for to in policy["spec"]["targetRefs"]
    ]
    for each in rendered.of_kind("Gateway"):
        spoken = "HTTPS" if api.owner["metadata"]["name"] in targets else "HTTP"
        yield each["metadata"]["name"], spoken
    for each in rendered.of_kind("ServiceMonitor"):
        if each["metadata"]["name"].endswith("-api"):
            yield each["metadata"]["name"], each["spec"]["endpoints"][0].get("scheme", "http").upper()


def _inside(pod: Pod) -> str:
    return f"{pod.owner['metadata']['name']}.{NAMESPACE}.svc"
