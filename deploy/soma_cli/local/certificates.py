"""An authority of a home's own, and the certificates that it issues: for this machine, for a short time."""

from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from soma_cli.local.home import LOOPBACK, write_private

AUTHORITY_LASTS = timedelta(days=3650)
CERTIFICATE_LASTS = timedelta(days=90)
# Clocks of one machine agree, but a certificate may be looked at in the second in which it was made.
_EARLIER = timedelta(hours=1)
_ORGANIZATION = "SomaFractalMemory local stack"


class Issued(NamedTuple):
    """A certificate in its files.

    Attributes:
        certificate: The certificate and its chain.
        key: Its key, in PKCS8.
        both: Key and chain in one file, as Kafka reads them.
    """

    certificate: Path
    key: Path
    both: Path


class Authority:
    """Issues certificates below a folder. Each is made once, and anew when its time is nearly up.

    Args:
        folder: Private to its owner.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.file = folder / "ca.pem"
        self._key_file = folder / "ca.key.pem"

    def issue(
        self,
        name: str,
        now: datetime,
        *,
        hosts: tuple[str, ...] = (LOOPBACK, "localhost"),
        lasts: timedelta = CERTIFICATE_LASTS,
        anew: bool = False,
    ) -> Issued:
        """Return a certificate for a service or a client; it is made when there is none, or not for long.

        Args:
            name: Its common name, and that of its files.
            now: The present.
            hosts: Host names and addresses that it is for.
            lasts: How long.
            anew: Make it also where there is one.
        """
        self._ensure(now)
        issued = Issued(*(self._folder / f"{name}.{part}.pem" for part in ("certificate", "key", "both")))
        if anew or not _lasts(issued.certificate, now) or not issued.both.exists():
            self._write(issued, name, now, hosts, lasts)
        return issued

    def _ensure(self, now: datetime) -> None:
        if _lasts(self.file, now) and self._key_file.exists():
            return
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _named("SomaFractalMemory local authority")
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            _builder(subject, subject, key.public_key(), now, AUTHORITY_LASTS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        for former in self._folder.glob("*.certificate.pem"):
            former.unlink()  # it is not trusted any more
        # The certificate last: where it is, both are.
        write_private(self._key_file, _pem_of(key))
        write_private(self.file, certificate.public_bytes(serialization.Encoding.PEM).decode("ascii"))

    def _write(
        self, issued: Issued, name: str, now: datetime, hosts: tuple[str, ...], lasts: timedelta
    ) -> None:
        authority = x509.load_pem_x509_certificate(self.file.read_bytes())
        signer = serialization.load_pem_private_key(self._key_file.read_bytes(), password=None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)  # noqa: S101  # as `_ensure` made it
        key = ec.generate_private_key(ec.SECP256R1())
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            _builder(_named(name), authority.subject, key.public_key(), now, lasts)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_host(each) for each in hosts]), critical=False)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),  # type: ignore[arg-type]  # elliptic, as `_ensure` made it
                critical=False,
            )
            .sign(signer, hashes.SHA256())
        )
        chain = certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")
        secret = _pem_of(key)
        write_private(issued.key, secret)
        write_private(issued.certificate, chain)
        write_private(issued.both, secret + chain)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lasts: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + lasts) - _EARLIER)
        .not_valid_after(now + lasts)
    )


def _lasts(certificate: Path, now: datetime) -> bool:
    """Say whether there is a certificate that lasts for a third of its time at least."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except FileNotFoundError:
        return False
    begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
    return now + (ends - begins) / 3 < ends


def _named(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem_of(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")
