"""Draws how far groups were behind over the last minutes, as PNG or SVG."""

from pathlib import Path

from soma_cli.failures import UsageError
from soma_schemas.lag import LagReport

FORMATS = (".png", ".svg")
_INCHES = (9.0, 6.0)


def draw(report: LagReport, file: Path) -> None:
    """Write a picture: age of the oldest unread record above, records below, one line for each group.

    Args:
        report: With the history of its groups.
        file: Where to; its name ends in one of FORMATS.

    Raises:
        UsageError: The plotting library is not installed.
        OSError: The file cannot be written.
    """
    try:
        # Ten libraries and half a second, which only this command needs; drawn without any screen.
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415  # see above
        from matplotlib.figure import Figure  # noqa: PLC0415  # see above
    except ModuleNotFoundError as error:
        raise UsageError(
            "drawing needs matplotlib, which is not installed",
            remedy="pip install 'somafractalmemory[plot]'",
        ) from error
    figure = Figure(figsize=_INCHES, layout="constrained")
    seconds, records = figure.subplots(2, sharex=True)
    for group in report.groups:
        times = [point.at for point in group.history]
        ages = [float("nan") if point.lag_seconds is None else point.lag_seconds for point in group.history]
        seconds.plot(times, ages, label=f"{group.group} ({group.status})")
        records.plot(times, [point.lag_records for point in group.history])
    seconds.set_ylabel("oldest unread record, s")
    records.set_ylabel("unread records")
    locator = AutoDateLocator()
    records.xaxis.set_major_locator(locator)
    records.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    for axes in (seconds, records):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    seconds.legend(loc="upper left")
    figure.savefig(file)
