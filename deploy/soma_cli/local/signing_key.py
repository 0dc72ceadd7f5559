"""The key with which the local stack signs receipts of erasures."""

from pathlib import Path

from soma_cli.local.home import Home, write_private
from soma_schemas.erasure_receipts import new_signing_key


def signing_key_file(home: Home) -> Path:
    """Return the file of a home's signing key, made once and then kept; its public key lies beside it.

    Both have mode 0600: the public one is there to be handed out.
    """
    folder = home.folder("secrets")
    private, public = folder / "erasure-signing-key.pem", folder / "erasure-signing-key.public.pem"
    if not private.exists():
        private_text, public_text = new_signing_key()
        # The private one last: where it is, both are.
        write_private(public, public_text)
        write_private(private, private_text)
    return private
