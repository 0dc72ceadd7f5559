"""Writes every dashboard as the JSON that Grafana reads."""

from pathlib import Path

from dashboards.boards import BOARDS
from dashboards.rendering import rendered

FOLDER = Path(__file__).parents[1] / "grafana" / "dashboards"

if __name__ == "__main__":
    for board in BOARDS:
        (FOLDER / f"{board.uid}.json").write_text(rendered(board), encoding="utf-8")
