"""Which Java programs the local stack runs: Maven coordinates, and the one content accepted for each file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_CHECKSUMS = Path(__file__).with_name("checksums")


class Coordinate(NamedTuple):
    """The name of one file in every Maven repository."""

    group: str
    artifact: str
    version: str
    classifier: str = ""
    packaging: str = "jar"


@dataclass(frozen=True)
class Pin:
    """One file of a Maven repository and the only content that we accept for it.

    Attributes:
        path: Where it lies below the repository's root.
        sha256: In hexadecimal.
    """

    path: PurePosixPath
    sha256: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @property
    def coordinate(self) -> Coordinate:
        """The coordinate that the layout of a Maven repository gives this path."""
        *group, artifact, version, name = self.path.parts
        classifier, _, packaging = name.removeprefix(f"{artifact}-{version}").partition(".")
        return Coordinate(".".join(group), artifact, version, classifier.removeprefix("-"), packaging)


@dataclass(frozen=True)
class Pins:
    """All files of a bundle.

    Attributes:
        files: Each with its content's checksum.
        size: Their bytes in total.
        digest: Of all this; other pins have another one.
    """

    files: tuple[Pin, ...]
    size: int
    digest: str


@dataclass(frozen=True)
class Bundle:
    """Files that make one program.

    Attributes:
        name: Of its checksum file, and of its folder in the cache.
        label: What people call it.
        roots: The files from which the others follow, as their dependencies.
        is_archive: Whether its one file is an archive of which only the content is kept.
        checksums: The folder with its checksum file.
    """

    name: str
    label: str
    roots: tuple[Coordinate, ...]
    is_archive: bool = False
    checksums: Path = _CHECKSUMS

    @property
    def checksum_file(self) -> Path:
        """Where its pins are: as `sha256sum` writes them, from the root of a Maven repository."""
        return self.checksums / f"{self.name}.sha256"

    def pins(self) -> Pins:
        """Read the pinned files."""
        text = self.checksum_file.read_text(encoding="utf-8")
        size_line, *lines = text.splitlines()
        pairs = (line.split("  ") for line in lines)
        return Pins(
            files=tuple(Pin(PurePosixPath(path), digest) for digest, path in pairs),
            size=int(size_line.split()[1]),
            digest=hashlib.sha256(text.encode("utf-8")).hexdigest()[:12],
        )


KAFKA = Bundle(
    "kafka",
    "Kafka 4.3.1",
    # Without an SLF4J binding the broker dies without a word. The simple one starts faster than log4j and
    # writes to stderr, which is the part's log.
    (
        Coordinate("org.apache.kafka", "kafka_2.13", "4.3.1"),
        Coordinate("org.slf4j", "slf4j-simple", "1.7.36"),
    ),
)
REGISTRY = Bundle(
    "registry",
    "Apicurio Registry 3.3.3",
    (Coordinate("io.apicurio", "apicurio-registry-app", "3.3.3", "all", "tar.gz"),),
    is_archive=True,
)
