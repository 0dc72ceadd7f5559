"""Opens a text in somebody's editor and returns what they made of it."""

import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from soma_cli.failures import FindingsError, UsageError


def edited(text: str, environment: Mapping[str, str]) -> str:
    """Return a text as somebody left it in $VISUAL or $EDITOR.

    Nobody else on the machine can read the file, and it is deleted afterwards: it holds a memory.

    Raises:
        UsageError: No editor is named, or it cannot be started.
        FindingsError: The editor ended with an error.
    """
    editor = environment.get("VISUAL") or environment.get("EDITOR")
    if not editor:
        raise UsageError("there is no editor to open", remedy="set EDITOR, for example `EDITOR=nano`")
    with tempfile.TemporaryDirectory(prefix="soma-dlq-") as folder:
        file = Path(folder) / "event.json"
        file.write_text(text, encoding="utf-8")
        try:
            ended = subprocess.run([*shlex.split(editor), str(file)], check=False)  # noqa: S603  # their own editor
        except (OSError, ValueError) as error:
            raise UsageError(f"the editor `{editor}` cannot be started: {error}") from None
        if ended.returncode != 0:
            raise FindingsError(
                f"the editor ended with exit code {ended.returncode}; nothing was published", ()
            )
        return file.read_text(encoding="utf-8")
