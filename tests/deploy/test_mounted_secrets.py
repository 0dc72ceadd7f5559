"""Secrets as Kubernetes mounts them, in the layout of the chart: links to links, replaced all at once."""

import os
from pathlib import Path

import pytest

from soma_cli.settings import KNOWN
from soma_schemas.configuration import load
from soma_schemas.errors import ConfigurationError
from soma_schemas.secret_files import fingerprint
from soma_schemas.settings import KafkaSettings
from soma_streams.lag.lag_settings import LagCollectorSettings

_PASSWORD = "SOMA_KAFKA__SASL_PASSWORD"
_PEM = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"


class Mounted:
    """A projected volume: each name leads through `..data`, which leads to a folder of one moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._moments = 0
        folder.mkdir()

    def replace(self, content: dict[str, str]) -> None:
        """Have other contents, all of them from one moment to the next."""
        self._moments += 1
        moment = self.folder / f"..2026_{self._moments}"
        moment.mkdir()
        for name, text in content.items():
            (moment / name).write_text(text, encoding="utf-8")
        (self.folder / "..data_tmp").symlink_to(moment.name)
        (self.folder / "..data_tmp").rename(self.folder / "..data")
        for name in content:
            if not os.path.lexists(self.folder / name):
                (self.folder / name).symlink_to(Path("..data") / name)


def _settings(secrets: Mounted, files: Mounted) -> KafkaSettings:
    environment = {
        "SOMA_SECRETS_DIR": str(secrets.folder),
        "SOMA_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "SOMA_KAFKA__SASL_USERNAME": "soma-lag",
        "SOMA_KAFKA__SSL_CA_FILE": str(files.folder / "kafka.ssl_ca_file"),
    }
    return load(LagCollectorSettings, environment=environment, known=KNOWN).settings.kafka


def test_what_is_replaced_in_a_volume_is_read_anew(tmp_path: Path) -> None:
    secrets, files = Mounted(tmp_path / "secrets"), Mounted(tmp_path / "files")
    secrets.replace({_PASSWORD: "first"})
    files.replace({"kafka.ssl_ca_file": _PEM.format("first")})
    kafka = _settings(secrets, files)
    assert kafka.sasl_password is not None
    before = kafka.sasl_password.get_secret_value(), fingerprint(kafka)

    secrets.replace({_PASSWORD: "second"})
    after_password = kafka.sasl_password.get_secret_value(), fingerprint(kafka)
    files.replace({"kafka.ssl_ca_file": _PEM.format("second")})

    assert before[0] == "first"
    assert after_password[0] == "second"
    assert len({before[1], after_password[1], fingerprint(kafka)}) == 3


def test_a_folder_without_secrets_is_one(tmp_path: Path) -> None:
    nothing = Mounted(tmp_path / "secrets")
    nothing.replace({})

    settings = load(LagCollectorSettings, environment={"SOMA_SECRETS_DIR": str(nothing.folder)}).settings

    assert settings.kafka.sasl_password is None


def test_a_secret_that_no_process_reads_is_refused(tmp_path: Path) -> None:
    secrets, files = Mounted(tmp_path / "secrets"), Mounted(tmp_path / "files")
    secrets.replace({_PASSWORD: "first", "SOMA_KAFKA_SASL_PASSWORD": "misspelt"})
    files.replace({"kafka.ssl_ca_file": _PEM.format("first")})

    with pytest.raises(ConfigurationError, match="SOMA_KAFKA_SASL_PASSWORD"):
        _settings(secrets, files)
