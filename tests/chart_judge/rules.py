"""All rules, by name."""

from chart_judge import (
    edge_rules,
    monitoring_rules,
    network_rules,
    object_rules,
    operator_rules,
    pod_rules,
    scaling_rules,
    secret_rules,
)
from chart_judge.checking import RULES, faults

MODULES = (
    edge_rules,
    monitoring_rules,
    network_rules,
    object_rules,
    operator_rules,
    pod_rules,
    scaling_rules,
    secret_rules,
)

__all__ = ["MODULES", "RULES", "faults"]
