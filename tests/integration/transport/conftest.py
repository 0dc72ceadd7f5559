import pytest

from integration.transport.harness import Cluster


@pytest.fixture(scope="session")
def cluster(kafka_bootstrap: str) -> Cluster:
    return Cluster(kafka_bootstrap)
