"""`soma retention`: set, lift, list and plan how long memories are kept, and see how the sweeper stands."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.table import Table

from soma_cli.commands.options import ApiKey, AsJson, Url, open_client
from soma_cli.database_errors import told_in_words
from soma_cli.drawing import show_answer
from soma_cli.failures import UsageError
from soma_cli.invocation import invocation_of
from soma_cli.output import Result, say, show
from soma_cli.parsing import seconds_of
from soma_cli.retention_status import retention_state
from soma_cli.settings import operator_settings
from soma_client import SomaClient
from soma_schemas.clock import SystemClock
from soma_schemas.errors import SomaError
from soma_schemas.fields import Kind

app = typer.Typer(
    help="Set, lift, list and plan how long memories are kept.", no_args_is_help=True, add_completion=False
)

_Ttl = Annotated[
    str | None,
    typer.Argument(
        help="How long a memory is kept after its last change: `30d`, `12h`, `15m`, `90s`.",
        metavar="[DURATION]",
        show_default=False,
    ),
]
_MaxMemories = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="How many memories each namespace may have by itself. Above, the least important go, and of "
        "those the oldest.",
        metavar="NUMBER",
        show_default=False,
    ),
]
_HalfLife = Annotated[
    str | None,
    typer.Option(
        help="In so long after its last change the importance of a memory halves; at the floor it ends.",
        metavar="DURATION",
        show_default=False,
    ),
]
_Floor = Annotated[
    float | None,
    typer.Option(
        help="With --half-life: the importance at which a memory ends, from 0.01 on. Default: 0.05.",
        metavar="NUMBER",
        show_default=False,
    ),
]
_Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        help="Namespace of the policy, with all below it. Default: the whole tenant.",
        show_default=False,
    ),
]
_OfKind = Annotated[
    Kind | None,
    typer.Option(
        "--kind",
        case_sensitive=False,
        help="Only the rule for this kind; other rules of the policy stay. Default: the rule for all kinds "
        "that have none of their own.",
        show_default=False,
    ),
]
_Cap = Annotated[bool, typer.Option("--cap", help="Only the cap; rules of the policy stay.")]
_Notice = Annotated[
    str | None,
    typer.Option(
        help="How long before the end `memory.expiring` tells of it. Default: it does not.",
        metavar="DURATION",
        show_default=False,
    ),
]
_Archive = Annotated[
    bool, typer.Option("--archive", help="Send the last state of each memory to `memory.expired`.")
]
_Yes = Annotated[bool, typer.Option("--yes", help="Also when memories are gone at once by it.")]
_Wait = Annotated[
    int,
    typer.Option(
        "--wait",
        min=0,
        max=60,
        help="Seconds to wait until it is in force; 0 returns when it is in the log.",
        metavar="SECONDS",
    ),
]


class MemoriesWouldGoError(SomaError):
    """A policy would end memories at once, and nobody has agreed to it."""

    code = "memories_would_go"
    remedy = "add --yes to do it"


class RetentionStatus(Result):
    """How retention stands, over all tenants."""

    policies: int
    overdue: int
    above_cap: int
    oldest_overdue: datetime | None
    oldest_overdue_seconds: float | None
    notices_told: int
    outbox_rows: int
    history_first_month: str | None
    history_last_month: str | None

    def drawn(self) -> RenderableType:
        """Return a line for each."""
        table = Table.grid(padding=(0, 2))
        seconds = self.oldest_overdue_seconds
        oldest = "" if seconds is None else f", the oldest for {seconds:,.0f} s"
        table.add_row("policies in force", f"{self.policies:,}")
        table.add_row("ended, still in the tables", f"{self.overdue:,}{oldest}")
        table.add_row("above their cap", f"{self.above_cap:,}")
        table.add_row("notices told", f"{self.notices_told:,}")
        table.add_row("last states on their way", f"{self.outbox_rows:,}")
        months = (self.history_first_month, self.history_last_month)
        table.add_row("months of the history", " to ".join(each for each in months if each is not None))
        return table


@app.command("set")
def set_(
    context: typer.Context,
    ttl: _Ttl = None,
    *,
    half_life: _HalfLife = None,
    floor: _Floor = None,
    max_memories: _MaxMemories = None,
    namespace: _Namespace = None,
    kind: _OfKind = None,
    notice: _Notice = None,
    archive: _Archive = False,
    yes: _Yes = False,
    wait: _Wait = 5,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Set how long memories of a namespace, or of the tenant, are kept after their last change, or how many.

    With --half-life a memory is kept the shorter the less important it is, with a DURATION so long at most. A
    memory's own `expires_at` goes before both. What is not named stays as it is. With --notice nothing ends
    before that time has passed. When memories would be gone at once, this shows which, and sets the policy
    only with --yes.
    """
    changed = _changed(ttl, _decay(half_life, floor), max_memories, kind, notice, archive=archive)
    with open_client(context, url, api_key) as client:
        said = _said(client, namespace, changed)
        _change(client, namespace, said, yes=yes, wait=wait, as_json=as_json)


@app.command()
def unset(
    context: typer.Context,
    *,
    namespace: _Namespace = None,
    kind: _OfKind = None,
    cap: _Cap = False,
    yes: _Yes = False,
    wait: _Wait = 5,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Lift the policy of a namespace, or of the tenant; with --kind or --cap only that part of it.

    The next policy above decides from then on. When memories would be gone at once by that, this shows which,
    and lifts the policy only with --yes.
    """
    with open_client(context, url, api_key) as client:
        said: _Said = {"rules": [], "cap": None}
        if kind is not None or cap:
            said = _in_force(client, namespace)
        if kind is not None:
            said["rules"] = [rule for rule in said["rules"] if rule["kind"] != kind]
        if cap:
            said["cap"] = None
        _change(client, namespace, said, yes=yes, wait=wait, as_json=as_json)


@app.command("list")
def list_(
    context: typer.Context, *, url: Url = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """List the policies in force."""
    with open_client(context, url, api_key) as client:
        show_answer(client.list_retention_policies(), as_json=as_json)


@app.command()
def plan(
    context: typer.Context,
    ttl: _Ttl = None,
    *,
    half_life: _HalfLife = None,
    floor: _Floor = None,
    max_memories: _MaxMemories = None,
    namespace: _Namespace = None,
    kind: _OfKind = None,
    notice: _Notice = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show what a policy would end, and when, without setting it."""
    changed = _changed(ttl, _decay(half_life, floor), max_memories, kind, notice, archive=False)
    with open_client(context, url, api_key) as client:
        said = _said(client, namespace, changed)
        show_answer(client.plan_retention_policy(namespace=namespace, **said), as_json=as_json)


@app.command()
def status(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show how the sweeper stands: what has ended and is not removed yet, and what is on its way."""
    settings, _ = operator_settings(invocation_of(context))
    now = SystemClock().now()
    with told_in_words(settings.postgres):
        state = retention_state(settings.postgres.conninfo(), now)
    show(
        RetentionStatus(
            policies=state.policies,
            overdue=state.overdue,
            above_cap=state.above_cap,
            oldest_overdue=state.oldest,
            oldest_overdue_seconds=None if state.oldest is None else (now - state.oldest).total_seconds(),
            notices_told=state.told,
            outbox_rows=state.queued,
            history_first_month=None if state.history is None else state.history[0],
            history_last_month=None if state.history is None else state.history[1],
        ),
        as_json=as_json,
    )


# A policy, or a part of it, as the API takes it.
_Said = dict[str, Any]
_FLOOR = 0.05


def _decay(half_life: str | None, floor: float | None) -> _Said | None:
    """Return how importance decays, where it is to."""
    if half_life is not None:
        halved = seconds_of("--half-life", half_life)
        return {"half_life_seconds": halved, "floor": _FLOOR if floor is None else floor}
    if floor is not None:
        raise UsageError("--floor goes with --half-life DURATION")
    return None


def _changed(
    ttl: str | None,
    decay: _Said | None,
    max_memories: int | None,
    kind: Kind | None,
    notice: str | None,
    *,
    archive: bool,
) -> _Said:
    """Return what is to be changed of a policy, where that is anything."""
    how = {
        "notice_seconds": 0 if notice is None else seconds_of("--notice", notice),
        "archive": archive,
    }
    changed: _Said = {"rules": [], "cap": None}
    if ttl is not None or decay is not None:
        rule: _Said = {"kind": kind, **how}
        if ttl is not None:
            rule["ttl_seconds"] = seconds_of("DURATION", ttl)
        if decay is not None:
            rule["decay"] = decay
        changed["rules"] = [rule]
    if max_memories is not None:
        changed["cap"] = {"max_memories": max_memories, **how}
    if not any(changed.values()):
        raise UsageError(
            "say how long or how many: a DURATION, --half-life DURATION, --max-memories NUMBER, or several"
        )
    return changed


def _in_force(client: SomaClient, namespace: str | None) -> _Said:
    """Return what the policy of a namespace says now."""
    for policy in client.list_retention_policies().policies:
        if policy.namespace == namespace:
            return policy.model_dump(mode="json", include={"rules", "cap"}, exclude_defaults=True)
    return {"rules": [], "cap": None}


def _said(client: SomaClient, namespace: str | None, changed: _Said) -> _Said:
    """Return what the policy of a namespace says once it is changed."""
    before = _in_force(client, namespace)
    kinds = {rule["kind"] for rule in changed["rules"]}
    return {
        "rules": [*(rule for rule in before["rules"] if rule["kind"] not in kinds), *changed["rules"]],
        "cap": changed["cap"] or before["cap"],
    }


def _change(
    client: SomaClient, namespace: str | None, said: _Said, *, yes: bool, wait: int, as_json: bool
) -> None:
    if not yes:
        planned = client.plan_retention_policy(namespace=namespace, **said)
        cap = said["cap"]
        # With a notice they stay for its time.
        above = planned.above_cap if cap is None or not cap["notice_seconds"] else 0
        if planned.due_now or above:
            show_answer(planned, as_json=as_json)
            say("")
            raise MemoriesWouldGoError(
                f"nothing was changed: memories would be gone at once, {planned.due_now + above:,} of them"
            )
    # A policy that says nothing is none.
    if any(said.values()):
        change = client.set_retention_policy(namespace=namespace, **said, wait_seconds=wait)
    else:
        change = client.lift_retention_policy(namespace=namespace, wait_seconds=wait)
    show_answer(change, as_json=as_json)
