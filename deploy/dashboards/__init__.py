"""Grafana dashboards as code: `python -m dashboards` writes deploy/grafana/dashboards."""
