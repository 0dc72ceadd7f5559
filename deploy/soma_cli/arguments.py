"""Command-line arguments as text, whatever the locale."""

import os


def text_of(argument: str, errors: str = "strict") -> str:
    """Return an argument as text: bytes that the locale lacks, which come as surrogates, are read as UTF-8.

    Args:
        argument: As Python has it, such as the name of a file.
        errors: What to do with what is no UTF-8, as `bytes.decode` takes it.

    Raises:
        UnicodeDecodeError: It is no UTF-8, and that is an error.
    """
    try:
        argument.encode()
    except UnicodeEncodeError:
        return os.fsencode(argument).decode(errors=errors)
    return argument
