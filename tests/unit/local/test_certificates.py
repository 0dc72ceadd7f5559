"""The authority of a home: what it issues, for whom, and when it issues anew."""

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from soma_cli.local.certificates import CERTIFICATE_LASTS, Authority, Issued
from soma_schemas.tls import RotatingContext, TlsFiles

NOW = datetime(2026, 11, 27, tzinfo=UTC)


def certificate(issued: Issued) -> x509.Certificate:
    return x509.load_pem_x509_certificate(issued.certificate.read_bytes())


def test_a_certificate_is_for_this_machine_alone_and_for_three_months(tmp_path: Path) -> None:
    issued = certificate(Authority(tmp_path).issue("api", NOW))

    names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(each.value) for each in names] == ["127.0.0.1", "localhost"]
    assert issued.not_valid_after_utc == NOW + timedelta(days=90)


def test_its_keys_are_its_owners_alone(tmp_path: Path) -> None:
    Authority(tmp_path).issue("api", NOW)

    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [
        "api.both.pem",
        "api.certificate.pem",
        "api.key.pem",
        "ca.key.pem",
        "ca.pem",
    ]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_certificate_is_kept_until_a_third_of_its_time_is_left(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    first = certificate(authority.issue("api", NOW))
    soon, late = NOW + CERTIFICATE_LASTS / 2, NOW + CERTIFICATE_LASTS * 0.7

    assert certificate(authority.issue("api", soon)) == first
    assert certificate(authority.issue("api", late)).not_valid_after_utc == late + CERTIFICATE_LASTS


def test_what_another_authority_issued_is_not_trusted(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    ours.issue("api", NOW)
    theirs.issue("api", NOW)

    assert ours.file.read_bytes() != theirs.file.read_bytes()


def test_a_context_shows_the_certificate_that_its_files_hold_now(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shown = authority.issue("api", datetime.now(UTC))  # noqa: TID251  # OpenSSL reads the real clock
    server = RotatingContext.of_server(TlsFiles(certificate=shown.certificate, key=shown.key))
    client = RotatingContext.of_client(TlsFiles(authority.file))

    first = shown_by(server, client)
    authority.issue("api", datetime.now(UTC), anew=True)  # noqa: TID251  # see above

    assert shown_by(server, client) != first
    assert shown_by(server, client) == ssl.PEM_cert_to_DER_cert(shown.certificate.read_text())


def test_a_context_goes_on_with_what_it_has_while_a_file_is_half_replaced(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shown = authority.issue("api", datetime.now(UTC))  # noqa: TID251  # OpenSSL reads the real clock
    server = RotatingContext.of_server(TlsFiles(certificate=shown.certificate, key=shown.key))
    client = RotatingContext.of_client(TlsFiles(authority.file))
    first = shown_by(server, client)

    shown.key.write_text("-----BEGIN PRIVATE KEY-----\nhalf")
    assert shown_by(server, client) == first
    shown.key.unlink()
    assert shown_by(server, client) == first


def shown_by(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes | None:
    """Return the certificate that a client gets to see."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for each in (ours, theirs):
            try:
                each.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ours.getpeercert(binary_form=True)
