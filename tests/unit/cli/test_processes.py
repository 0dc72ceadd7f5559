"""What the processes are made of, as far as it shows without starting one."""

import subprocess
import sys


def test_what_only_a_qdrant_server_needs_is_not_loaded_without_one() -> None:
    asked = "import sys, soma_cli.processes; print('qdrant_client' in sys.modules)"

    answer = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "False"
