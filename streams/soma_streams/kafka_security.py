"""How clients written in Python prove to the brokers who they are."""

import ssl

from soma_schemas.settings import KafkaSettings


def ssl_context(kafka: KafkaSettings) -> ssl.SSLContext:
    """Return what encrypts connections, with our own certificate where there is one."""
    context = ssl.create_default_context(
        cafile=str(kafka.ssl_ca_file) if kafka.ssl_ca_file is not None else None
    )
    if kafka.ssl_certificate_file is not None and kafka.ssl_key_file is not None:
        context.load_cert_chain(kafka.ssl_certificate_file, kafka.ssl_key_file)
    return context
