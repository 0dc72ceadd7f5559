"""The values of the Helm chart; their descriptions and bounds become values.schema.json.

Names are camel case, as charts have them.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

# What Kubernetes defines and checks itself.
Kubernetes = dict[str, Any]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
Cron = Annotated[str, Field(pattern=r"^(\S+ ){4}\S+$")]
Quantity = Annotated[str, Field(pattern=r"^[0-9.]+([EPTGMk]i?|m)?$")]


class _Values(BaseModel):
    model_config = ConfigDict(extra="forbid")


# What these are is made of the settings of the processes, once for all that have them.
Settings = Annotated[dict[str, Any], WithJsonSchema({"made": "Settings"})]
SecretSettings = Annotated[dict[str, Any], WithJsonSchema({"made": "SecretSettings"})]
MaybeReference = Annotated[
    dict[str, Any], WithJsonSchema({"anyOf": [{"made": "Reference"}, {"type": "object", "maxProperties": 0}]})
]


class Image(_Values):
    """The image of all processes, made by deploy/images/Dockerfile."""

    repository: str = Field(min_length=1, description="Registry and name.")
    tag: str = Field(description="Empty: the version of the chart's application.")
    digest: str = Field(
        pattern="^(sha256:[0-9a-f]{64})?$", description="Where set, it counts instead of the tag."
    )
    pullPolicy: Literal["Always", "IfNotPresent", "Never"] = Field(description="As Kubernetes has it.")
    pullSecrets: list[Name] = Field(description="Secrets of the registry.")


class Pods(_Values):
    """What all pods have in common."""

    nodeSelector: Kubernetes = Field(description="As Kubernetes has it.")
    tolerations: list[Kubernetes] = Field(description="As Kubernetes has it.")
    priorityClassName: str = Field(description="As Kubernetes has it.")
    annotations: dict[str, str] = Field(description="Of every pod.")
    spreadOver: list[str] = Field(
        description="Topology keys over which the pods of a workload are spread, as far as nodes allow."
    )
    runtimeClassName: str = Field(description="As Kubernetes has it.")


class Workload(_Values):
    """A process that runs all the time."""

    enabled: bool = Field(description="Whether it is deployed.")
    replicas: int = Field(ge=0, description="How many there are while nothing scales it.")
    settings: Settings = Field(description="Its settings beyond those of all, as part, field, value.")
    secretSettings: SecretSettings = Field(description="Likewise, of secrets and files.")
    resources: Kubernetes = Field(description="Requests and limits of CPU and memory.")
    terminationMarginSeconds: int = Field(
        ge=5,
        description="How much longer than its drain it may take to end, in seconds.",
    )


class Autoscaling(_Values):
    """A HorizontalPodAutoscaler."""

    enabled: bool = Field(description="Whether there is one.")
    minReplicas: int = Field(ge=1, description="Fewest.")
    maxReplicas: int = Field(ge=1, description="Most.")
    cpuPercent: int = Field(ge=1, le=100, description="Of the requested CPU, which is aimed at.")


class LagAutoscaling(_Values):
    """A KEDA ScaledObject that asks the lag collector."""

    enabled: bool = Field(description="Whether there is one.")
    minReplicas: int = Field(ge=1, description="Fewest.")
    maxReplicas: int = Field(ge=1, description="Most; never more than `settings.topics.partitions`.")
    lagRecords: int = Field(
        ge=1, description="So many records behind are one replica's share; more lag, more replicas."
    )


class Api(Workload):
    """The HTTP API."""

    autoscaling: Autoscaling = Field(description="By CPU.")
    stopAfterSeconds: int = Field(
        ge=0,
        description="How long it goes on serving when it is to end, until proxies have noticed, in seconds.",
    )


class Worker(Workload):
    """A worker that takes events from the log."""

    autoscaling: LagAutoscaling = Field(description="By lag.")


class Workers(_Values):
    """The workers, a Deployment each."""

    postgres: Worker = Field(description="`soma work postgres`.")
    vectors: Worker = Field(description="`soma work vectors`.")
    retention: Workload = Field(description="`soma work retention`; of several one works, the others wait.")


class Prepare(_Values):
    """The hook before a release: topics, schemas, tables."""

    enabled: bool = Field(description="Whether it runs.")
    deadlineSeconds: int = Field(ge=60, description="How long it may take, in seconds.")


class Volume(_Values):
    """Where archives are kept."""

    existingClaim: str = Field(description="A PersistentVolumeClaim that is there; empty: one is made.")
    storageClassName: str = Field(description="Of the one that is made; empty: the cluster's own.")
    size: Quantity = Field(description="Of the one that is made.")


class Backup(_Values):
    """`soma backup` on a schedule."""

    enabled: bool = Field(description="Whether it is made.")
    schedule: Cron = Field(description="When, in UTC.")
    image: str = Field(
        description="An image of `soma` that has `pg_dump` of the server's major version; see the guide."
    )
    keepDays: int = Field(ge=1, description="Archives that are older are deleted after a new one is made.")
    encryptionKey: MaybeReference = Field(description="Key that archives are encrypted with.")
    volume: Volume = Field(description="Where they are kept.")


class Drill(_Values):
    """`soma backup drill` of the newest archive on a schedule."""

    enabled: bool = Field(description="Whether it is tried.")
    schedule: Cron = Field(description="When, in UTC.")


class Verify(_Values):
    """`soma verify` on a schedule."""

    enabled: bool = Field(description="Whether the stores are compared.")
    schedule: Cron = Field(description="When, in UTC.")


class Toolbox(_Values):
    """A Deployment of no replicas, to be scaled up for commands of an operator."""

    enabled: bool = Field(description="Whether there is one.")


class Jobs(_Values):
    """What runs and ends: commands of an operator, with the login of the owner."""

    settings: Settings = Field(description="Their settings beyond those of all.")
    secretSettings: SecretSettings = Field(description="Likewise, of secrets and files.")
    resources: Kubernetes = Field(description="Requests and limits of CPU and memory.")
    prepare: Prepare = Field(description="Before a release.")
    backup: Backup = Field(description="Archives of the tables.")
    drill: Drill = Field(description="Whether an archive comes back.")
    verify: Verify = Field(description="Whether the stores agree.")
    toolbox: Toolbox = Field(description="For whatever else an operator types.")


class Dns(_Values):
    """The cluster's DNS."""

    peers: list[Kubernetes] = Field(min_length=1, description="Peers of a NetworkPolicy.")
    ports: list[int] = Field(min_length=1, description="UDP and TCP.")


class IngressPeers(_Values):
    """Who may call pods of the release, as peers of NetworkPolicies."""

    api: list[Kubernetes] = Field(description="The API: the ingress controller, applications in the cluster.")
    metrics: list[Kubernetes] = Field(description="Metrics of all: Prometheus.")
    keda: list[Kubernetes] = Field(description="The collector's report: KEDA's operator.")


class Network(_Values):
    """NetworkPolicies: nothing is allowed but what is listed."""

    enabled: bool = Field(description="Whether there are any.")
    dns: Dns = Field(description="The cluster's DNS.")
    allowFrom: IngressPeers = Field(description="Who may call.")
    peers: dict[str, list[Kubernetes]] = Field(
        description="For a part of the settings, such as `kafka`, where its address is. Needed where that is "
        "a name outside of the cluster, since a policy knows addresses alone, and for `rateLimitStore`. "
        "`tokens` is the token endpoint of `kafka`."
    )
    rateLimitStorePort: int = Field(
        ge=1, le=65535, description="Port of the store of rate limits, whose address is a secret."
    )


class Edge(_Values):
    """What an ingress controller holds requests to, before the API does."""

    requestsPerSecond: int = Field(ge=0, description="Of one client address; 0: no limit.")
    connections: int = Field(ge=0, description="Of one client address at the same time; 0: no limit.")
    allowedSources: list[str] = Field(description="Networks that may call; none: all.")
    waf: bool = Field(description="ModSecurity with OWASP's core rules, which the controller has to have.")


class Certificate(_Values):
    """A Certificate of cert-manager."""

    enabled: bool = Field(description="Whether there is one; if not, `tlsSecret` is there already.")
    issuer: str = Field(description="Name of the issuer.")
    issuerKind: Literal["ClusterIssuer", "Issuer"] = Field(description="Its kind.")


class Ingress(_Values):
    """An Ingress. Its annotations are those of ingress-nginx, which other controllers read too."""

    enabled: bool = Field(description="Whether there is one.")
    className: str = Field(description="IngressClass.")
    host: str = Field(description="Name that clients use.")
    tlsSecret: Name = Field(description="Secret of its certificate.")
    paths: list[str] = Field(min_length=1, description="Paths that are led on, each with all below it.")
    annotations: dict[str, str] = Field(description="More, or others than those made of the limits.")
    limits: Edge = Field(description="Limits of the controller.")
    certificate: Certificate = Field(description="Its certificate.")


class Gateway(_Values):
    """Gateway API: a Gateway and its HTTPRoutes."""

    enabled: bool = Field(description="Whether there are any.")
    className: str = Field(description="GatewayClass.")
    host: str = Field(description="Name that clients use.")
    tlsSecret: Name = Field(description="Secret of its certificate.")
    paths: list[str] = Field(min_length=1, description="Paths that are led on, each with all below it.")
    annotations: dict[str, str] = Field(description="Of the Gateway.")
    apiCa: str = Field(
        description="ConfigMap with the CA (`ca.crt`) of the API's own certificate, where it has one."
    )
    certificate: Certificate = Field(description="Its certificate.")


class Monitoring(_Values):
    """Prometheus's operator and Grafana's sidecar."""

    enabled: bool = Field(description="Whether processes are scraped.")
    labels: dict[str, str] = Field(description="By which Prometheus finds monitors and rules.")
    interval: str = Field(pattern="^[0-9]+(ms|s|m)$", description="Between two scrapes.")
    apiKey: MaybeReference = Field(description="API key with role operator, for the metrics of the API.")
    apiCa: MaybeReference = Field(
        description="CA of the API's own certificate, where `secretSettings.api` gives it one."
    )
    rules: bool = Field(description="Alerts and recording rules.")
    docs: str = Field(description="Where the pages of docs/ are read: links of alerts begin with it.")
    dashboards: bool = Field(description="Dashboards as ConfigMaps.")
    dashboardLabels: dict[str, str] = Field(description="By which Grafana's sidecar finds them.")


class Strimzi(_Values):
    """Brokers by Strimzi: Kafka, its node pools, topics and users."""

    enabled: bool = Field(description="Whether there are any.")
    version: str = Field(description="Of Kafka; empty: the operator's newest.")
    replicas: int = Field(ge=1, description="Brokers, each a controller too.")
    storage: Quantity = Field(description="Of each broker.")
    storageClassName: str = Field(description="Empty: the cluster's own.")
    resources: Kubernetes = Field(description="Of each broker.")


class ObjectStore(_Values):
    """Where CloudNativePG archives to."""

    enabled: bool = Field(description="Whether it does.")
    plugin: str = Field(description="CNPG-I plugin.")
    barmanObjectName: str = Field(description="Its ObjectStore, which is there already.")
    schedule: str = Field(pattern=r"^(\S+ ){5}\S+$", description="Of base backups: six fields, with seconds.")


class CloudNativePg(_Values):
    """PostgreSQL by CloudNativePG: a Cluster and its scheduled backups."""

    enabled: bool = Field(description="Whether there is one.")
    image: str = Field(min_length=1, description="Of PostgreSQL; its major version is that of `pg_dump`.")
    instances: int = Field(ge=1, description="A primary and its replicas.")
    storage: Quantity = Field(description="Of each instance.")
    storageClassName: str = Field(description="Empty: the cluster's own.")
    resources: Kubernetes = Field(description="Of each instance.")
    ownerSecret: Name = Field(description="Secret (basic-auth) of login soma_owner.")
    workerSecret: Name = Field(description="Secret (basic-auth) of login soma_worker.")
    apiSecret: Name = Field(description="Secret (basic-auth) of login soma_api.")
    backup: ObjectStore = Field(description="Continuous archive, and base backups.")


class Operators(_Values):
    """Brokers and PostgreSQL made by operators that run in the cluster already."""

    strimzi: Strimzi = Field(description="Kafka.")
    cloudnativepg: CloudNativePg = Field(description="PostgreSQL.")


class Values(_Values):
    """All values."""

    nameOverride: str = Field(description="Instead of the chart's name.")
    fullnameOverride: str = Field(description="Instead of names made of release and chart.")
    commonLabels: dict[str, str] = Field(description="Of every object.")
    image: Image = Field(description="The image of all processes.")
    pods: Pods = Field(description="What all pods have in common.")
    settings: Settings = Field(
        description="Settings of every process that reads them, as part, field, value."
    )
    secretSettings: SecretSettings = Field(
        description="Settings that are secrets or files, as part, field, place: they are mounted as files."
    )
    api: Api = Field(description="`soma serve`.")
    workers: Workers = Field(description="`soma work`.")
    collector: Workload = Field(description="`soma lag collect`.")
    jobs: Jobs = Field(description="Commands of an operator.")
    network: Network = Field(description="NetworkPolicies.")
    ingress: Ingress = Field(description="An Ingress for the API.")
    gateway: Gateway = Field(description="A Gateway for the API.")
    monitoring: Monitoring = Field(description="Scrapes, rules, dashboards.")
    operators: Operators = Field(description="Brokers and PostgreSQL by operators.")
    global_: Kubernetes = Field(
        {}, alias="global", description="Helm's own, for charts that have this one below them."
    )
