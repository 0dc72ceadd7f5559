"""What can be wrong with keys. No message holds one.

EncryptionError
├── MasterKeyError         there is no master key, or not the one that wrapped the data keys
└── KeysUnavailableError   PostgreSQL, which has the data keys, gives no answer, or the log takes no new one
"""

from soma_schemas.errors import SomaError


class EncryptionError(SomaError):
    """An event can be neither encrypted nor decrypted; nothing is written in plain text instead."""

    code = "encryption"


class MasterKeyError(EncryptionError):
    """There is no master key, or not the one that wrapped the data keys."""

    code = "master_key"
    remedy = (
        "Set SOMA_ENCRYPTION__MASTER_KEY_FILE to the file with the key that `soma encryption status` names. "
        "Without it what is encrypted is lost: restore the file from where secrets are kept."
    )


class KeysUnavailableError(EncryptionError):
    """The data keys cannot be read or made now; asking again later may help."""

    code = "data_keys_unavailable"
    remedy = "Start PostgreSQL, or correct SOMA_POSTGRES__HOST and the login; nothing was sent."
