"""Asks a part of this machine over HTTP, past every proxy; made for each question, so it has to be cheap."""

from pathlib import Path

import httpx

from soma_schemas.tls import RotatingContext, TlsFiles


def client_here(ca_file: Path | None) -> httpx.AsyncClient:
    """Return a client for a part on loopback.

    Args:
        ca_file: Who signed it; None where it speaks plain HTTP.
    """
    verify = False if ca_file is None else RotatingContext.of_client(TlsFiles(ca_file))
    return httpx.AsyncClient(trust_env=False, verify=verify)  # of plain HTTP there is nothing to verify
