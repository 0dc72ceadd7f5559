"""A smaller model behind an OpenAI-compatible endpoint, as a process: the packaged one's first numbers.

Started as `python -m embedding_endpoint PORT`, where 0 is any that is free, it prints its port.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from soma_schemas.vectors.embedders import PackagedEmbedder

MODEL = "wordllama-64"
DIMENSIONS = 64


@contextmanager
def embedding_endpoint(port: int = 0) -> Iterator[dict[str, str]]:
    """Serve the model until the block ends; yields the settings that make it the next one."""
    command = [sys.executable, "-m", "embedding_endpoint", str(port)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield {
                "SOMA_NEXT_EMBEDDER__KIND": "endpoint",
                "SOMA_NEXT_EMBEDDER__MODEL": MODEL,
                "SOMA_NEXT_EMBEDDER__DIMENSIONS": str(DIMENSIONS),
                "SOMA_NEXT_EMBEDDER__URL": f"http://127.0.0.1:{port}/v1",
            }
        finally:
            process.kill()


def main() -> None:
    """Serve until killed."""
    packaged = PackagedEmbedder()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # the library calls it so
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            vectors = [vector[:DIMENSIONS] for vector in packaged.embed_documents(asked["input"])]
            data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
            body = json.dumps({"data": data}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # of the library
            pass

    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler) as server:
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
