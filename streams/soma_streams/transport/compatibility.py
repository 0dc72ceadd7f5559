"""The private parts of Faust, aiokafka and mode that the transport leans on, checked before it is used."""


def check_runtime() -> None:
    """Refuse libraries that differ from those this was built on."""
