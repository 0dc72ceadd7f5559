"""`soma topics`: create and check the topics."""

import asyncio

import typer
from rich.console import RenderableType
from rich.text import Text

from soma_cli.commands.options import AsJson
from soma_cli.failures import FindingsError
from soma_cli.invocation import invocation_of
from soma_cli.output import Result, show, waiting_for
from soma_cli.settings import operator_settings
from soma_cli.topic_application import apply_visibly
from soma_schemas.clock import SystemClock
from soma_schemas.topic_admin import TopicDifference, open_admin, topic_differences, topics_remedy

# Brokers that run answer within one; who looks whether they do, does not wait for long.
_CHECK_SECONDS = 10.0

app = typer.Typer(help="Create and check the topics.", no_args_is_help=True, add_completion=False)


class Difference(Result):
    """One way in which a topic is not as declared; `found` is null when it is missing."""

    topic: str
    what: str
    declared: str
    found: str | None


class Topics(Result):
    """What was done to the topics, and what is still not as declared."""

    done: list[str]
    differences: list[Difference]

    def drawn(self) -> RenderableType:
        """Return a line for each thing done or left."""
        left = [str(_difference(each)) for each in self.differences]
        return Text("\n".join([*self.done, *left]) or "all topics are as declared")


@app.command()
def apply(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Create missing topics and correct the configuration of existing ones.

    Never changes partitions or replicas of an existing topic: keys would move and lose their order. The exit
    code is 1 if a topic still differs from its declaration.
    """
    settings, _ = operator_settings(invocation_of(context))
    admin = open_admin(settings.kafka)
    with waiting_for("the brokers"):
        done, left = asyncio.run(apply_visibly(admin, settings.topics, SystemClock()))
    _show(done, left, as_json=as_json)


@app.command()
def check(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Compare the topics with their declaration without changing them; exit code 1 if any differs."""
    settings, _ = operator_settings(invocation_of(context))
    with waiting_for("the brokers"):
        left = topic_differences(open_admin(settings.kafka), settings.topics, timeout_seconds=_CHECK_SECONDS)
    _show([], left, as_json=as_json)


def _show(done: list[str], left: list[TopicDifference], *, as_json: bool) -> None:
    differences = [
        Difference(topic=each.topic, what=each.what, declared=each.declared, found=each.found)
        for each in left
    ]
    show(Topics(done=done, differences=differences), as_json=as_json)
    if not left:
        return
    raise FindingsError(
        f"{len(left)} differences from the declaration" if len(left) > 1 else "a topic is not as declared",
        (),
        remedy=topics_remedy(left),
    )


def _difference(shown: Difference) -> TopicDifference:
    return TopicDifference(shown.topic, shown.what, shown.declared, shown.found)
