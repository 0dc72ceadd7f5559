"""Every dashboard: its panels, what good looks like in each, and where to read on."""

from dashboards.panels import Board, Kind, Panel, Runbook

_SPAN = "$__rate_interval"
_USERS = 'route!~"/healthz|/readyz|/metrics"'
_CHOSEN = 'group=~"$group",topic=~"$topic"'

_OVERVIEW = Board(
    uid="soma-overview",
    title="Soma / Overview",
    description="Is it healthy, how fresh is it, how long could a sink be away, what fails.",
    panels=(
        Panel(
            title="Processes that answer",
            good="1: every process of ours answers Prometheus. Below, at least one does not.",
            runbook=Runbook.CONSUMER,
            queries={"share": 'avg(up{job=~"soma-.+"})'},
            unit="percentunit",
            kind=Kind.NUMBER,
            bad_below=1,
        ),
        Panel(
            title="How far behind",
            good="Below a second or two. From 30 s on a group counts as late, and spends the budget for freshness.",
            runbook=Runbook.LAG,
            queries={"{{group}}": "soma:lag_seconds:max"},
            unit="s",
            kind=Kind.NUMBER,
            bad_above=30,
        ),
        Panel(
            title="Until retention deletes the unread",
            good="Days. Below one day somebody has to act.",
            runbook=Runbook.LAG,
            queries={"shortest": "min(soma_lag_headroom_seconds)"},
            unit="s",
            kind=Kind.NUMBER,
            bad_below=86400,
        ),
        Panel(
            title="Requests that fail",
            good="Below 1 in 1,000: that is the objective.",
            runbook=Runbook.LATENCY,
            queries={"share": "soma:api_errors:ratio_rate5m"},
            unit="percentunit",
            kind=Kind.NUMBER,
            bad_above=0.001,
        ),
        Panel(
            title="Events that become dead letters",
            good="0. Above 1 in 100 a producer or a release is broken.",
            runbook=Runbook.DEAD_LETTERS,
            queries={"{{sink}}": "soma:dead_letters:ratio_rate5m"},
            unit="percentunit",
            kind=Kind.NUMBER,
            bad_above=0.01,
        ),
        Panel(
            title="Stores that are away",
            good="None. A sink waits for its store and loses nothing, but falls behind.",
            runbook=Runbook.DATABASE,
            queries={"{{sink}} waits for {{store}}": "max by (sink, store) (soma_store_unavailable)"},
            kind=Kind.NUMBER,
            bad_above=1,
        ),
        Panel(
            title="Alerts that fire",
            good="No row.",
            runbook=Runbook.CONSUMER,
            queries={
                "{{alertname}}": 'max by (alertname, severity) (ALERTS{alertname=~"Soma.+",alertstate="firing"})'
            },
            kind=Kind.TABLE,
        ),
        Panel(
            title="Budget spent on failures, as a multiple of what is sustainable",
            good="Below 1. At 14.4 the budget of a month is gone in two days.",
            runbook=Runbook.LATENCY,
            queries={
                "availability, 1 h": "soma:api_errors:ratio_rate1h / 0.001",
                "freshness of {{group}}, 1 h": "soma:late:ratio1h / 0.01",
            },
            bad_above=14.4,
        ),
    ),
)

_LAG = Board(
    uid="soma-lag",
    title="Soma / Lag",
    description="Who is behind, whether it gets on, and when it will have caught up.",
    variables={
        "group": "label_values(soma_lag_records, group)",
        "topic": "label_values(soma_lag_records, topic)",
    },
    panels=(
        Panel(
            title="Age of the oldest unread record",
            good="Seconds, and it comes back after a burst.",
            runbook=Runbook.LAG,
            queries={
                "{{group}} {{topic}}/{{partition}}": f"soma_lag_seconds{{{_CHOSEN}}}",
            },
            unit="s",
            bad_above=60,
        ),
        Panel(
            title="Unread records",
            good="It goes down, or stays near 0. One partition far above the others has a key that is hot.",
            runbook=Runbook.LAG,
            queries={"{{group}} {{topic}}/{{partition}}": f"soma_lag_records{{{_CHOSEN}}}"},
        ),
        Panel(
            title="Status",
            good="OK in every row. STALL: a member does not get on. STOP: nobody reads. REWIND: somebody reset it.",
            runbook=Runbook.CONSUMER,
            queries={
                "{{group}} {{topic}} {{status}}": f"sum by (group, topic, status) (soma_lag_status{{{_CHOSEN}}})"
            },
            kind=Kind.TABLE,
        ),
        Panel(
            title="Until caught up",
            good="Below half of the time that retention leaves. No line: at its pace of late it never catches up.",
            runbook=Runbook.LAG,
            queries={
                "{{group}} {{topic}}": f"max by (group, topic) (soma_lag_catch_up_seconds{{{_CHOSEN}}})",
            },
            unit="s",
        ),
        Panel(
            title="Until retention deletes the unread",
            good="Days, and steady.",
            runbook=Runbook.LAG,
            queries={
                "{{group}} {{topic}}": f"min by (group, topic) (soma_lag_headroom_seconds{{{_CHOSEN}}})",
            },
            unit="s",
            bad_below=86400,
        ),
        Panel(
            title="Age of the collector's last look",
            good="Below two of its intervals, 10 s. Above, no panel here is true any more.",
            runbook=Runbook.BROKERS,
            queries={"{{instance}}": "soma_lag_round_age_seconds"},
            unit="s",
            bad_above=60,
        ),
    ),
)

_DEAD_LETTERS = Board(
    uid="soma-dead-letters",
    title="Soma / Dead letters",
    description="What can never be applied, why, and whether a worker is about to stop for it.",
    panels=(
        Panel(
            title="Dead letters by reason",
            good="None. One code alone points to one producer; many at once to a release of ours.",
            runbook=Runbook.DEAD_LETTERS,
            queries={
                "{{sink}} {{stage}} {{code}}": f"sum by (sink, stage, code) (rate(soma_dead_letters_total[{_SPAN}]))"
            },
            unit="reqps",
        ),
        Panel(
            title="How near to a stop",
            good="0. At 100% the worker stops: too many of the last events are dead letters.",
            runbook=Runbook.DEAD_LETTERS,
            queries={"{{sink}}": "max by (sink) (soma_dead_letter_flood_level)"},
            unit="percentunit",
            bad_above=0.5,
        ),
        Panel(
            title="Dead letters that were published again, by what became of them",
            good="applied or superseded. dead_lettered: what was wrong still is.",
            runbook=Runbook.DEAD_LETTERS,
            queries={
                "{{sink}} {{outcome}}": f"sum by (sink, outcome) (rate(soma_events_replayed_total[{_SPAN}]))"
            },
            unit="reqps",
        ),
    ),
)

_SINKS = Board(
    uid="soma-sinks",
    title="Soma / Sinks",
    description="What each sink settles, what slows it down, and what it waits for.",
    panels=(
        Panel(
            title="Events settled",
            good="As many as are published. superseded alone, for long: something is delivered again.",
            runbook=Runbook.LAG,
            queries={
                "{{sink}} {{outcome}}": f"sum by (sink, outcome) (rate(soma_events_settled_total[{_SPAN}]))"
            },
            unit="reqps",
        ),
        Panel(
            title="Age at settlement, 95 in 100 batches",
            good="Below a second, while nothing is being caught up.",
            runbook=Runbook.LAG,
            queries={
                "{{sink}}": "histogram_quantile(0.95, sum by (sink, le) "
                f"(rate(soma_event_age_seconds_bucket[{_SPAN}])))"
            },
            unit="s",
            bad_above=30,
        ),
        Panel(
            title="Where a batch's time goes",
            good="Most of it is writing. Much more settling than decoding and writing is waiting for a store.",
            runbook=Runbook.LATENCY,
            queries={
                f"{{{{sink}}}} {step}": f"sum by (sink) (rate(soma_{step}_seconds_sum[{_SPAN}])) / "
                f"(sum by (sink) (rate(soma_{step}_seconds_count[{_SPAN}])) > 0)"
                for step in ("decode", "write", "settle")
            },
            unit="s",
        ),
        Panel(
            title="Failed tries",
            good="None. transient: a store is away. systemic: the worker has stopped, and says why in its log.",
            runbook=Runbook.DATABASE,
            queries={"{{sink}} {{class}}": f"sum by (sink, class) (rate(soma_sink_errors_total[{_SPAN}]))"},
            unit="reqps",
        ),
        Panel(
            title="Share of time that a sink waits for a store",
            good="0. At 1 the sink does nothing else.",
            runbook=Runbook.DATABASE,
            queries={
                "{{sink}} for {{store}}": f"sum by (sink, store) (rate(soma_store_away_seconds_total[{_SPAN}]))"
            },
            unit="percentunit",
        ),
        Panel(
            title="Longest without progress",
            good="Seconds. From five minutes on, with the store there, only a restart helps.",
            runbook=Runbook.CONSUMER,
            queries={
                "{{sink}} batch under way": "max by (sink) (soma_oldest_unsettled_seconds)",
                "{{sink}} nothing settled": "max by (sink) (soma_still_seconds)",
            },
            unit="s",
            bad_above=300,
        ),
        Panel(
            title="Buffered bytes",
            good="Steady. At the bound the sink is slower than the log, which is what lag shows.",
            runbook=Runbook.LAG,
            queries={"{{sink}}": "sum by (sink) (soma_buffered_bytes)"},
            unit="bytes",
        ),
        Panel(
            title="Rebalances",
            good="None but when a worker starts or stops. Again and again: a worker does not answer in time.",
            runbook=Runbook.CONSUMER,
            queries={"{{sink}}": f"sum by (sink) (increase(soma_rebalances_total[{_SPAN}]))"},
        ),
        Panel(
            title="Events read by the reference instead of the native extension",
            good="Near 0 where the extension is installed: the reference takes longer.",
            runbook=Runbook.UPGRADE,
            queries={
                "{{sink}}": f'sum by (sink) (rate(soma_events_decoded_total{{by="reference"}}[{_SPAN}])) / '
                f"(sum by (sink) (rate(soma_events_decoded_total[{_SPAN}])) > 0)"
            },
            unit="percentunit",
        ),
    ),
)

_API = Board(
    uid="soma-api",
    title="Soma / API",
    description="What clients see: rates, errors, latency by route, and how stale answers may be.",
    panels=(
        Panel(
            title="Requests by route",
            good="As usual at this hour.",
            runbook=Runbook.LATENCY,
            queries={
                "{{method}} {{route}}": f"sum by (method, route) (rate(soma_api_requests_total{{{_USERS}}}[{_SPAN}]))"
            },
            unit="reqps",
        ),
        Panel(
            title="Errors by status",
            good="No 5xx. 4xx are the clients' own; 429 and 503 say that this process has too much to do.",
            runbook=Runbook.LATENCY,
            queries={
                "{{status}} {{route}}": "sum by (status, route) "
                f'(rate(soma_api_requests_total{{status=~"[45]..",{_USERS}}}[{_SPAN}]))'
            },
            unit="reqps",
        ),
        *(
            Panel(
                title=f"Latency, {share} in 100 requests",
                good="Reads below 0.1 s, searches below 0.3 s. A write that asks to wait takes as long as its sinks.",
                runbook=Runbook.LATENCY,
                queries={
                    "{{method}} {{route}}": f"histogram_quantile(0.{share}, sum by (method, route, le) "
                    f"(rate(soma_api_request_seconds_bucket{{{_USERS}}}[{_SPAN}])))"
                },
                unit="s",
            )
            for share in (50, 95, 99)
        ),
        Panel(
            title="Staleness served, 95 in 100 reads",
            good="A second or two. More: a sink is behind.",
            runbook=Runbook.LAG,
            queries={
                "at most": f"histogram_quantile(0.95, sum by (le) (rate(soma_api_staleness_seconds_bucket[{_SPAN}])))"
            },
            unit="s",
            bad_above=30,
        ),
        Panel(
            title="Waits that timed out",
            good="None: a write or a read that waits for its sinks gets its answer.",
            runbook=Runbook.LAG,
            queries={
                "{{wait_for}}": 'sum by (wait_for) (rate(soma_api_waits_total{result="timed_out"}'
                f"[{_SPAN}]))"
            },
            unit="reqps",
        ),
        Panel(
            title="Requests in flight, and waiting for a connection",
            good="Nobody waits. At SOMA_API__MAX_CONCURRENT_REQUESTS in flight new ones are refused.",
            runbook=Runbook.LATENCY,
            queries={
                "in flight": "sum(soma_api_requests_in_flight)",
                "waiting for PostgreSQL": 'sum(soma_postgres_pool_waiting{pool="api"})',
            },
        ),
    ),
)

_PRODUCERS = Board(
    uid="soma-producers",
    title="Soma / Producers",
    description="Whether what is written reaches the log, and how fast.",
    panels=(
        Panel(
            title="Events sent, and their answers",
            good="Every event is acknowledged. timed_out and refused are reported to their clients as errors.",
            runbook=Runbook.BROKERS,
            queries={
                "sent": f"sum(rate(soma_producer_sent_total[{_SPAN}]))",
                "{{result}}": f"sum by (result) (rate(soma_producer_answered_total[{_SPAN}]))",
            },
            unit="reqps",
        ),
        Panel(
            title="Until all replicas have it",
            good="Tens of milliseconds. More: a broker is slow, or away.",
            runbook=Runbook.BROKERS,
            queries={
                f"{share} in 100": f"histogram_quantile(0.{share}, sum by (le) "
                f"(rate(soma_producer_ack_seconds_bucket[{_SPAN}])))"
                for share in (50, 95, 99)
            },
            unit="s",
        ),
        Panel(
            title="Events without an answer yet",
            good="Near 0. It grows while the brokers do not answer.",
            runbook=Runbook.BROKERS,
            queries={"{{instance}}": "soma_producer_queue_events"},
        ),
    ),
)

_STORES = Board(
    uid="soma-stores",
    title="Soma / Stores",
    description="Brokers, PostgreSQL and Qdrant: by our own view, and by the usual exporters where they run.",
    panels=(
        Panel(
            title="Events written to the log",
            good="As usual at this hour. A partition far above the others has a key that is hot.",
            runbook=Runbook.BROKERS,
            queries={"{{topic}}": f"sum by (topic) (rate(soma_log_end_offset[{_SPAN}]))"},
            unit="reqps",
        ),
        Panel(
            title="Kafka: partitions without all replicas",
            good="0 (kafka_exporter). Above for minutes: a broker is away.",
            runbook=Runbook.BROKERS,
            queries={"{{topic}}": "sum by (topic) (kafka_topic_partition_under_replicated_partition)"},
            bad_above=1,
        ),
        Panel(
            title="PostgreSQL: connections in use of ours",
            good="Below the pool's size.",
            runbook=Runbook.DATABASE,
            queries={
                "{{job}} {{pool}}": "sum by (job, pool) "
                '(soma_postgres_pool_connections{state="in_use"}) / '
                "sum by (job, pool) (soma_postgres_pool_max_connections)"
            },
            unit="percentunit",
            bad_above=1,
        ),
        Panel(
            title="PostgreSQL: transactions and deadlocks",
            good="No deadlocks (postgres_exporter); commits follow the load.",
            runbook=Runbook.DATABASE,
            queries={
                "commits of {{datname}}": f"sum by (datname) (rate(pg_stat_database_xact_commit[{_SPAN}]))",
                "deadlocks of {{datname}}": f"sum by (datname) (rate(pg_stat_database_deadlocks[{_SPAN}]))",
            },
            unit="reqps",
        ),
        Panel(
            title="Vector index",
            good="As many points as memories, and whole.",
            runbook=Runbook.INDEX,
            queries={"points": "max(soma_vector_points)", "1 when whole": "min(soma_index_whole)"},
        ),
        Panel(
            title="Qdrant: memory",
            good="Below the machine's (Qdrant's own /metrics).",
            runbook=Runbook.INDEX,
            queries={"{{instance}}": "memory_resident_bytes"},
            unit="bytes",
        ),
    ),
)

_CAPACITY = Board(
    uid="soma-capacity",
    title="Soma / Capacity",
    description="What an event costs, how much is left, and when more is needed.",
    panels=(
        Panel(
            title="Processor time for each event",
            good="Steady from release to release; a fraction of a millisecond in a worker.",
            runbook=Runbook.UPGRADE,
            queries={
                "{{job}}": f'sum by (job) (rate(process_cpu_seconds_total{{job=~"soma-.+"}}[{_SPAN}])) / on (job) '
                f"(sum by (job) (rate(soma_events_settled_total[{_SPAN}])) > 0)"
            },
            unit="s",
        ),
        Panel(
            title="Processors in use",
            good="Below 0.7 of a process on average: above, a burst is caught up slowly. Add a worker.",
            runbook=Runbook.LAG,
            queries={"{{job}} {{instance}}": f'rate(process_cpu_seconds_total{{job=~"soma-.+"}}[{_SPAN}])'},
            bad_above=0.9,
        ),
        Panel(
            title="Memory in use",
            good="Flat. A slope that never ends is a leak.",
            runbook=Runbook.UPGRADE,
            queries={"{{job}} {{instance}}": 'process_resident_memory_bytes{job=~"soma-.+"}'},
            unit="bytes",
        ),
        Panel(
            title="Days until a disk is full",
            good="More than a week (node_exporter, by the slope of the last six hours).",
            runbook=Runbook.DISK,
            queries={
                "{{instance}} {{mountpoint}}": 'node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|overlay|squashfs"} / '
                '(-deriv(node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|overlay|squashfs"}[6h]) > 0) / 86400'
            },
            unit="d",
            bad_below=7,
        ),
    ),
)

_LIFECYCLE = Board(
    uid="soma-lifecycle",
    title="Soma / Data lifecycle",
    description="Whether memories end in time, whether erasures get done, whether the stores agree, and the backup.",
    panels=(
        Panel(
            title="Expiry: how long the oldest is overdue",
            good="0, or seconds while a policy ends many. 5 minutes and more: the sweeper does not get on.",
            runbook=Runbook.SWEEPER,
            queries={
                "overdue": "max(soma_retention_overdue_seconds)",
                "1 when a process leads": "max(soma_retention_leader)",
            },
            bad_above=300,
        ),
        Panel(
            title="Expiry: memories told of, ended and archived",
            good="Archived follows ended where the policy wants it. Rows that stay in the outbox: brokers are away.",
            runbook=Runbook.SWEEPER,
            queries={
                "told of": f"sum(rate(soma_retention_notices_total[{_SPAN}]))",
                "ended": f"sum(rate(soma_retention_expiries_total[{_SPAN}]))",
                "archived": f"sum(rate(soma_retention_archived_total[{_SPAN}]))",
                "rows in the outbox": "max(soma_retention_outbox_rows)",
            },
        ),
        Panel(
            title="Erasures that are not done",
            good="None for long: an erasure takes seconds to minutes. From an hour on somebody has to look.",
            runbook=Runbook.ERASURE,
            queries={
                "open": "max(soma_open_erasures)",
                "age of the oldest, in minutes": "max(soma_oldest_erasure_seconds) / 60",
            },
            bad_above=60,
        ),
        Panel(
            title="Differences between log, PostgreSQL and vector index",
            good="0 of every kind. `overdue` waits for the sweeper; any other is mended by soma verify --repair.",
            runbook=Runbook.DRIFT,
            queries={"{{kind}}": "sum by (kind) (soma_drift_found)"},
            bad_above=1,
        ),
        Panel(
            title="Age of the last audit",
            good="Below SOMA_AUDIT__INTERVAL and the time that one takes. Above: nobody knows of drift.",
            runbook=Runbook.DRIFT,
            queries={"age": "time() - max(soma_audit_completed_timestamp_seconds)"},
            unit="s",
        ),
        Panel(
            title="Age of the newest backup",
            good="Less than the time between two. Half a century: there is none.",
            runbook=Runbook.BACKUP,
            queries={"age": "time() - max(soma_backup_made_timestamp_seconds)"},
            unit="s",
            bad_above=172800,
        ),
        Panel(
            title="Months of the history",
            good="As many as SOMA_RETENTION__HISTORY_KEPT says, and the one made ahead.",
            runbook=Runbook.DISK,
            queries={"months": "max(soma_retention_history_months)"},
        ),
    ),
)

BOARDS = (_OVERVIEW, _LAG, _DEAD_LETTERS, _SINKS, _API, _PRODUCERS, _STORES, _LIFECYCLE, _CAPACITY)
