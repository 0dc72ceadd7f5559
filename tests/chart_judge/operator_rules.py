"""Brokers and PostgreSQL as operators are asked for them: as declared, with no more rights than needed."""

from collections.abc import Iterator

from chart_judge.checking import Check, check, rule
from chart_judge.process_settings import PROCESS_OF, handed_over, values_of
from chart_judge.rendered import Object, Pod, Rendered, environment_of
from soma_schemas.kafka_access import Service, rights_of
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import TOPICS


@rule
def nothing_that_keeps_data_is_made_by_hand(rendered: Rendered) -> Iterator[Check]:
    for each in rendered.objects:
        name = f"{each['kind']} {each['metadata']['name']}"
        yield check(
            name, each["kind"] not in {"StatefulSet", "DaemonSet", "Pod", "ReplicaSet"}, "made by hand"
        )
    for each in rendered.of_kind("Kafka", "KafkaTopic", "Cluster", "PersistentVolumeClaim"):
        kept = each["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        yield check(f"{each['kind']} {each['metadata']['name']}", kept == "keep", "it goes with the release")


def _topic_settings(rendered: Rendered) -> TopicSettings:
    [prepare] = [pod for pod in rendered.pods() if pod.component == "prepare"]
    return TopicSettings(**values_of(prepare)["topics"])


@rule
def topics_are_as_they_are_declared(rendered: Rendered) -> Iterator[Check]:
    if not rendered.of_kind("Kafka"):
        return
    settings = _topic_settings(rendered)
    made = {each["spec"]["topicName"]: each["spec"] for each in rendered.of_kind("KafkaTopic")}
    yield check(
        "KafkaTopic",
        made.keys() == {topic.full_name(settings) for topic in TOPICS},
        f"there are {sorted(made)}",
    )
    for topic in TOPICS:
        spec = made.get(topic.full_name(settings), {})
        partitions = topic.partitions(settings)
        yield check(
            topic.name,
            spec.get("partitions") == partitions,
            f"{spec.get('partitions')} partitions, declared {partitions}",
        )
        yield check(
            topic.name, spec.get("replicas") == settings.replication_factor, "other replicas than declared"
        )
        yield check(
            topic.name, spec.get("config") == topic.config(settings), "another configuration than declared"
        )


@rule
def brokers_take_nobody_without_tls_and_a_name(rendered: Rendered) -> Iterator[Check]:
    for each in rendered.of_kind("Kafka"):
        name = f"Kafka {each['metadata']['name']}"
        kafka = each["spec"]["kafka"]
        for listener in kafka["listeners"]:
            yield check(name, listener.get("tls") is True, f"listener {listener['name']} has no TLS")
            yield check(
                name,
                listener.get("authentication", {}).get("type") in {"scram-sha-512", "tls"},
                "it takes anybody",
            )
            yield check(name, listener.get("networkPolicyPeers"), "any pod may call")
            yield check(name, listener["type"] == "internal", "it is open outside of the cluster")
        yield check(
            name, kafka.get("authorization", {}).get("type") == "simple", "whoever is in may do anything"
        )
        config = kafka["config"]
        yield check(
            name, config.get("auto.create.topics.enable") is False, "brokers make topics by themselves"
        )
        yield check(
            name, config.get("unclean.leader.election.enable") is False, "what was acknowledged may be lost"
        )
        settings = _topic_settings(rendered)
        for setting in ("default.replication.factor", "offsets.topic.replication.factor"):
            yield check(
                name,
                config.get(setting) == settings.replication_factor,
                f"{setting} is {config.get(setting)}",
            )
        brokers = sum(pool["spec"]["replicas"] for pool in rendered.of_kind("KafkaNodePool"))
        yield check(name, brokers >= settings.replication_factor, f"{brokers} brokers")


@rule
def each_process_has_its_own_user_of_kafka(rendered: Rendered) -> Iterator[Check]:
    users = {each["metadata"]["name"]: each for each in rendered.of_kind("KafkaUser")}
    if not users:
        return
    used: dict[str, set[str]] = {}
    for pod in rendered.pods():
        name = values_of(pod).get("kafka", {}).get("sasl_username")
        used.setdefault(name, set()).add(PROCESS_OF[pod.component])
        yield check(pod.name, name in users, f"user {name} is not made")
        container = pod.spec["containers"][-1]
        yield check(
            pod.name, "SOMA_KAFKA__SASL_PASSWORD" in handed_over(pod, container)[0], "it has no password"
        )
        yield check(pod.name, _password_of(pod) == name, "it has the password of somebody else")
    for name, processes in used.items():
        yield check(str(name), len(processes) == 1, f"{sorted(processes)} share it")
    for name in users:
        yield check(name, name in used, "nobody uses it")


def _password_of(pod: Pod) -> str | None:
    for volume in pod.spec["volumes"]:
        for source in volume.get("projected", {}).get("sources", []):
            secret = source.get("secret", {})
            if any(item["path"] == "SOMA_KAFKA__SASL_PASSWORD" for item in secret.get("items", [])):
                return str(secret["name"])
    return None


_SERVICES = {
    "api": Service.API,
    "worker-postgres": Service.POSTGRES_WORKER,
    "worker-vectors": Service.VECTOR_WORKER,
    "worker-retention": Service.RETENTION_WORKER,
    "lag": Service.LAG_COLLECTOR,
}


@rule
def users_of_kafka_may_do_what_is_declared(rendered: Rendered) -> Iterator[Check]:
    users = {each["metadata"]["name"]: each["spec"] for each in rendered.of_kind("KafkaUser")}
    if not users:
        return
    settings = _topic_settings(rendered)
    for component, service in _SERVICES.items():
        [name] = [name for name in users if name.endswith(f"-{component}")]
        wanted = {
            (right.resource.value, right.name, "prefix" if right.prefixed else "literal", operation.value)
            for right in rights_of(service, settings)
            for operation in right.operations
        }
        granted = set(_granted(users[name]))
        yield check(name, granted == wanted, f"it differs in {sorted(granted ^ wanted)}")
    for name, spec in users.items():
        yield check(name, spec["authorization"]["type"] == "simple", "nothing holds it")
        yield check(name, spec["authentication"]["type"] in {"scram-sha-512", "tls"}, "it is anybody")
        for kind, resource, _, operation in _granted(spec):
            own = resource.startswith((f"{settings.prefix}memory.", f"{settings.prefix}soma-"))
            yield check(name, own and operation != "All", f"it may do {operation} on {kind} {resource}")


def _granted(spec: Object) -> Iterator[tuple[str, str, str, str]]:
    for acl in spec["authorization"]["acls"]:
        resource = acl["resource"]
        for operation in acl["operations"]:
            yield (
                resource["type"],
                resource.get("name", "*"),
                resource.get("patternType", "literal"),
                operation,
            )


@rule
def logins_of_postgresql_have_one_role_each(rendered: Rendered) -> Iterator[Check]:
    for each in rendered.of_kind("Cluster"):
        name, spec = f"Cluster {each['metadata']['name']}", each["spec"]
        roles = {role["name"]: role for role in spec["managed"]["roles"]}
        yield check(name, spec.get("enableSuperuserAccess") is False, "somebody has the superuser's password")
        yield check(
            name,
            not any(role.get("superuser") or role.get("bypassrls") for role in roles.values()),
            "a login passes every check",
        )
        for login, role in (("soma_worker", "soma_sinks"), ("soma_api", "soma_readers")):
            member = roles.get(login, {})
            yield check(name, member.get("inRoles") == [role], f"{login} has roles {member.get('inRoles')}")
            yield check(
                name, not member.get("createrole") and not member.get("createdb"), f"{login} may make roles"
            )
        for pod in rendered.pods():
            user = values_of(pod).get("postgres", {}).get("user")
            if user is not None:
                login = roles.get(user, {})
                yield check(
                    pod.name,
                    login.get("login") is True and "passwordSecret" in login,
                    f"{user} cannot log in",
                )
        secrets = [role["passwordSecret"]["name"] for role in roles.values() if "passwordSecret" in role]
        yield check(name, len(secrets) == len(set(secrets)) == 3, "logins share a password")


def _is_synchronous(spec: Object) -> bool:
    synchronous = spec.get("postgresql", {}).get("synchronous", {})
    return bool(synchronous.get("number", 0) >= 1 and synchronous.get("dataDurability") == "required")


@rule
def postgresql_survives_the_loss_of_a_node(rendered: Rendered) -> Iterator[Check]:
    for each in rendered.of_kind("Cluster"):
        name, spec = f"Cluster {each['metadata']['name']}", each["spec"]
        yield check(
            name,
            spec["instances"] >= 2 and _is_synchronous(spec),
            "a confirmed write may be lost",
        )
        backups = [
            one
            for one in rendered.of_kind("ScheduledBackup")
            if one["spec"]["cluster"]["name"] == each["metadata"]["name"]
        ]
        archived = any(plugin.get("isWALArchiver") for plugin in spec.get("plugins", []))
        yield check(
            name, bool(backups) == archived, "base backups and the archive of the log belong together"
        )
        for one in backups:
            fields = len(one["spec"]["schedule"].split())
            yield check(name, fields == 6, f"a schedule of {fields} fields: the first is the second")


@rule
def addresses_of_operators_are_those_that_they_make(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.pods():
        environment = environment_of(pod.spec["containers"][-1])
        for each in rendered.of_kind("Kafka"):
            port = each["spec"]["kafka"]["listeners"][0]["port"]
            wanted = f"{each['metadata']['name']}-kafka-bootstrap:{port}"
            yield check(
                pod.name,
                environment.get("SOMA_KAFKA__BOOTSTRAP_SERVERS") == wanted,
                f"brokers are at {wanted}",
            )
        for each in rendered.of_kind("Cluster"):
            if "SOMA_POSTGRES__HOST" in environment or pod.component != "lag":
                wanted = f"{each['metadata']['name']}-rw"
                yield check(
                    pod.name, environment.get("SOMA_POSTGRES__HOST") == wanted, f"PostgreSQL is at {wanted}"
                )
