"""What is pinned is whole, and what a pin's path says is understood."""

from pathlib import PurePosixPath

import pytest

from soma_cli.local.bundles import KAFKA, REGISTRY, Bundle, Coordinate, Pin


@pytest.mark.parametrize(
    ("path", "coordinate"),
    [
        (
            "org/apache/kafka/kafka_2.13/4.3.1/kafka_2.13-4.3.1.jar",
            Coordinate("org.apache.kafka", "kafka_2.13", "4.3.1"),
        ),
        (
            "io/apicurio/apicurio-registry-app/3.3.3/apicurio-registry-app-3.3.3-all.tar.gz",
            Coordinate("io.apicurio", "apicurio-registry-app", "3.3.3", "all", "tar.gz"),
        ),
        (
            "com/github/luben/zstd-jni/1.5.6-10/zstd-jni-1.5.6-10.jar",
            Coordinate("com.github.luben", "zstd-jni", "1.5.6-10"),
        ),
    ],
)
def test_a_path_says_its_coordinate(path: str, coordinate: Coordinate) -> None:
    assert Pin(PurePosixPath(path), "").coordinate == coordinate


@pytest.mark.parametrize("bundle", [KAFKA, REGISTRY], ids=lambda bundle: bundle.name)
def test_every_root_of_a_bundle_is_pinned(bundle: Bundle) -> None:
    pinned = {pin.coordinate for pin in bundle.pins().files}

    assert set(bundle.roots) <= pinned


@pytest.mark.parametrize("bundle", [KAFKA, REGISTRY], ids=lambda bundle: bundle.name)
def test_every_pin_is_a_sha256(bundle: Bundle) -> None:
    pins = bundle.pins().files

    assert [pin.name for pin in pins if len(bytes.fromhex(pin.sha256)) != 32] == []


def test_file_names_are_unique_because_they_share_a_folder() -> None:
    names = [pin.name for pin in KAFKA.pins().files]

    assert len(set(names)) == len(names)


def test_all_of_kafka_is_of_one_version() -> None:
    # Resolved together with log4j, kafka-clients once came as 3.9.1 beside a broker of 4.3.1.
    versions = {pin.coordinate.version for pin in KAFKA.pins().files if pin.path.parts[2] == "kafka"}

    assert versions == {"4.3.1"}
