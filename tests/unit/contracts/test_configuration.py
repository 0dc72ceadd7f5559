"""Settings: where they come from, what is refused, what is shown."""

from datetime import timedelta
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import ValidationError

from soma_api.settings import GatewaySettings
from soma_schemas.configuration import REDACTED, as_environment, load
from soma_schemas.errors import ConfigurationError
from soma_schemas.secret_files import fingerprint
from soma_schemas.settings import (
    KafkaSettings,
    PostgresSettings,
    ProcessSettings,
    PublishingSettings,
    RegistrySettings,
    SettingsGroup,
)
from soma_streams.settings import PostgresWorkerSettings, VectorWorkerSettings

PASSWORD = {
    "SOMA_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
    "SOMA_KAFKA__SASL_USERNAME": "producer",
    "SOMA_KAFKA__SASL_PASSWORD": "hunter2",
}


def test_the_environment_wins_over_secret_files_and_those_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "soma.toml"
    file.write_text('[kafka]\nbootstrap_servers = "file:1"\n[topics]\nepoch = 2\npartitions = 7\n')
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "SOMA_TOPICS__EPOCH").write_text("3\n")
    (secrets / "SOMA_KAFKA__BOOTSTRAP_SERVERS").write_text("secret:1\n")

    loaded = load(
        PublishingSettings,
        environment={
            "SOMA_CONFIG_FILE": str(file),
            "SOMA_SECRETS_DIR": str(secrets),
            "SOMA_KAFKA__BOOTSTRAP_SERVERS": "environment:1",
        },
    )

    assert loaded.settings.kafka.bootstrap_servers == "environment:1"
    assert loaded.settings.topics.epoch == 3
    assert loaded.settings.topics.partitions == 7
    origins = {setting.name: setting.origin for setting in loaded.effective}
    assert origins["SOMA_KAFKA__BOOTSTRAP_SERVERS"] == "environment"
    assert origins["SOMA_TOPICS__EPOCH"] == "secret"
    assert origins["SOMA_TOPICS__PARTITIONS"] == "file"
    assert origins["SOMA_TOPICS__PREFIX"] == "default"


@pytest.mark.parametrize(
    "environment",
    [
        {"SOMA_KAFKA__BOOTSTRAP": "x"},
        {"SOMA_KAFAK__BOOTSTRAP_SERVERS": "x"},
        {"SOMA_KAFKA": "x"},
        {"SOMA_TYPO": "x"},
        {"SOMA_TOPICS__EPOCH": "zero"},
        {"SOMA_TOPICS__EPOCH": "0"},
        {"SOMA_TOPICS__MIN_INSYNC_REPLICAS": "3"},
        {"SOMA_KAFKA__SASL_PASSWORD": "unused"},
        {"SOMA_KAFKA__OAUTH_CLIENT_SECRET": "unused"},
        {"SOMA_KAFKA__OAUTH_SCOPE": "unused"},
        {"SOMA_KAFKA__OAUTH_TOKEN_URL": "http://login.example.com/token"},
        {"SOMA_PRODUCER__LINGER": "soon"},
        {"SOMA_CONFIG_FILE": "/nowhere/soma.toml"},
        {"SOMA_SECRETS_DIR": "/nowhere"},
    ],
)
def test_a_wrong_or_unknown_setting_is_refused_by_name(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(PublishingSettings, environment=environment)

    (value,) = environment.values()
    assert caught.value.remedy is not None or value in str(caught.value)


@pytest.mark.parametrize("name", ["SOMA_KAFKA__BOOTSTRAP", "SOMA_KAFAK__BOOTSTRAP_SERVERS", "SOMA_TYPO"])
def test_an_unknown_setting_is_called_that_wherever_it_stands(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^unknown setting: {name}$"):
        load(PublishingSettings, environment={name: "x"})


def test_white_space_around_a_value_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "SOMA_KAFKA__SASL_PASSWORD").write_bytes(b"\xef\xbb\xbf hunter2 \r\n")
    environment = {
        "SOMA_SECRETS_DIR": f"{tmp_path}\r",
        "SOMA_KAFKA__BOOTSTRAP_SERVERS": " broker:1\r\n",
        "SOMA_KAFKA__SECURITY_PROTOCOL": "SASL_SSL\r",
        "SOMA_KAFKA__SASL_USERNAME": "producer\t",
    }

    kafka = load(PublishingSettings, environment=environment).settings.kafka

    assert kafka.librdkafka() == {
        "bootstrap.servers": "broker:1",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "producer",
        "sasl.password": "hunter2",
    }


TOKEN = {
    "SOMA_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
    "SOMA_KAFKA__OAUTH_TOKEN_URL": "https://login.example.com/token",
    "SOMA_KAFKA__OAUTH_CLIENT_ID": "soma",
    "SOMA_KAFKA__OAUTH_CLIENT_SECRET": "hunter2",
}


def test_tokens_are_shown_instead_of_a_password() -> None:
    environment = TOKEN | {"SOMA_KAFKA__OAUTH_SCOPE": "kafka"}

    kafka = load(PublishingSettings, environment=environment).settings.kafka

    assert kafka.librdkafka() == {
        "bootstrap.servers": "127.0.0.1:9092",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": "https://login.example.com/token",
        "sasl.oauthbearer.client.id": "soma",
        "sasl.oauthbearer.client.secret": "hunter2",
        "sasl.oauthbearer.scope": "kafka",
        "https.ca.location": "probe",
    }
    assert "hunter2" not in repr(kafka)


@pytest.mark.parametrize(
    "environment",
    [
        TOKEN | PASSWORD,
        TOKEN | {"SOMA_KAFKA__SASL_USERNAME": "producer"},
        PASSWORD | {"SOMA_KAFKA__OAUTH_SCOPE": "kafka"},
        *({name: value for name, value in TOKEN.items() if name != left_out} for left_out in TOKEN),
    ],
)
def test_half_a_login_or_two_of_them_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="SASL_SSL") as refused:
        load(PublishingSettings, environment=environment)

    assert "hunter2" not in f"{refused.value} {refused.value.remedy}"


@pytest.mark.parametrize("value", [b"a\nb", b"a\x00b", b"a\xffb"])
def test_what_no_setting_holds_is_told_by_the_name_of_the_variable(value: bytes, tmp_path: Path) -> None:
    (tmp_path / "SOMA_REGISTRY__USERNAME").write_bytes(value)
    spelled = {"SOMA_REGISTRY__USERNAME": value.decode("utf-8", "surrogateescape")}

    for environment in ({"SOMA_SECRETS_DIR": str(tmp_path)}, spelled):
        with pytest.raises(ConfigurationError, match="SOMA_REGISTRY__USERNAME"):
            load(PublishingSettings, environment=environment)


@pytest.mark.parametrize(
    "name",
    [
        "SOMA_KAFKA__SSL_CA_FILE",
        "SOMA_KAFKA__SSL_CERTIFICATE_FILE",
        "SOMA_KAFKA__SSL_KEY_FILE",
        "SOMA_REGISTRY__CA_FILE",
        "SOMA_VECTORS__CA_FILE",
    ],
)
def test_a_file_that_is_missing_or_no_pem_is_told_by_the_name_of_the_variable(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "nonsense.pem").write_text("hunter2")

    for file, reason in (("missing.pem", "No such file"), ("nonsense.pem", "no PEM"), ("", "directory")):
        with pytest.raises(ConfigurationError, match=f"{name}.*{reason}") as refused:
            load(VectorWorkerSettings, environment={name: str(tmp_path / file)})
        assert "hunter2" not in str(refused.value)


def test_settings_of_another_process_may_stand_in_the_same_environment() -> None:
    environment = {"SOMA_EMBEDDER__MODEL": "other"}

    load(PublishingSettings, environment=environment, known=[VectorWorkerSettings])
    with pytest.raises(ConfigurationError):
        load(PublishingSettings, environment=environment)


def test_a_secret_is_never_shown() -> None:
    loaded = load(PublishingSettings, environment=PASSWORD)

    shown = {setting.name: setting.value for setting in loaded.effective}
    assert shown["SOMA_KAFKA__SASL_PASSWORD"] == REDACTED
    assert "hunter2" not in repr(loaded)


def test_a_rule_between_settings_is_told_in_its_own_words() -> None:
    with pytest.raises(ConfigurationError, match=r"^SOMA_KAFKA: SASL_SSL wants"):
        load(PublishingSettings, environment={"SOMA_KAFKA__SECURITY_PROTOCOL": "SASL_SSL"})


def test_an_error_about_a_secret_does_not_tell_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(PublishingSettings, environment={"SOMA_KAFKA__SASL_PASSWORD": "hunter2"})

    assert "hunter2" not in str(caught.value)


def test_settings_reach_a_child_process_whole() -> None:
    settings = load(
        VectorWorkerSettings,
        environment=PASSWORD | {"SOMA_RETRY__BACKOFF_MAX": "1.5", "SOMA_TOPICS__EPOCH": "4"},
    ).settings

    again = load(VectorWorkerSettings, environment=as_environment(settings)).settings

    assert again == settings
    assert again.retry.backoff_max == timedelta(seconds=1.5)


@pytest.mark.parametrize("process", [PublishingSettings, VectorWorkerSettings])
def test_every_setting_says_what_it_does(process: type[ProcessSettings]) -> None:
    undescribed = [
        setting.name for setting in load(process, environment={}).effective if not setting.description
    ]

    assert undescribed == []


def in_a_file(folder: Path, password: str) -> KafkaSettings:
    (folder / "SOMA_KAFKA__SASL_PASSWORD").write_text(f"{password}\n")
    environment = {
        "SOMA_SECRETS_DIR": str(folder),
        "SOMA_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "SOMA_KAFKA__SASL_USERNAME": "somebody",
    }
    return load(PublishingSettings, environment=environment).settings.kafka


def test_a_secret_in_a_file_is_read_again_whenever_it_is_used(tmp_path: Path) -> None:
    kafka = in_a_file(tmp_path, "first")

    assert kafka.librdkafka()["sasl.password"] == "first"
    (tmp_path / "SOMA_KAFKA__SASL_PASSWORD").write_text("second\n")
    assert kafka.librdkafka()["sasl.password"] == "second"


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"a\nb"])
def test_what_a_file_held_last_counts_while_it_holds_no_secret(tmp_path: Path, content: bytes | None) -> None:
    kafka = in_a_file(tmp_path, "first")
    file = tmp_path / "SOMA_KAFKA__SASL_PASSWORD"
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)

    assert kafka.librdkafka()["sasl.password"] == "first"


def test_a_secret_of_the_environment_is_not_read_from_the_file_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "SOMA_POSTGRES__PASSWORD").write_text("of the file")
    environment = {"SOMA_SECRETS_DIR": str(tmp_path), "SOMA_POSTGRES__PASSWORD": "of the environment"}

    postgres = load(PostgresWorkerSettings, environment=environment).settings.postgres

    assert postgres.password.get_secret_value() == "of the environment"


def test_a_fingerprint_changes_with_a_secret_and_with_a_file_and_tells_neither(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("-----BEGIN CERTIFICATE-----\nfirst")
    kafka = in_a_file(tmp_path, "first").model_copy(update={"ssl_ca_file": authority})
    seen = [fingerprint(kafka), fingerprint(kafka)]
    (tmp_path / "SOMA_KAFKA__SASL_PASSWORD").write_text("second")
    seen.append(fingerprint(kafka))
    authority.write_text("-----BEGIN CERTIFICATE-----\nsecond")
    seen.append(fingerprint(kafka))

    assert seen[0] == seen[1]
    assert len(set(seen)) == 3
    assert not any("first" in each or "second" in each for each in seen)


@pytest.mark.parametrize(
    ("group", "values", "said"),
    [
        (RegistrySettings, {"username": "somebody"}, "username and password come together"),
        (
            RegistrySettings,
            {"username": "somebody", "password": "x", "token": "y"},
            "username and password, or a token",
        ),
        (PostgresSettings, {"ca_file": "CA", "sslmode": "require"}, "it would not be used"),
        (PostgresSettings, {"certificate_file": "CA"}, "come together"),
        (KafkaSettings, {"ssl_ca_file": "CA"}, "they would not be used"),
        (GatewaySettings, {"tls_certificate_file": "CA"}, "come together"),
    ],
)
def test_what_would_not_be_used_is_refused(
    tmp_path: Path, group: type[SettingsGroup], values: dict[str, str], said: str
) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("-----BEGIN CERTIFICATE-----")
    given = {name: str(authority) if value == "CA" else value for name, value in values.items()}

    with pytest.raises(ValidationError, match=said):
        group.model_validate(given)


def test_postgres_is_reached_with_the_files_that_the_settings_name(tmp_path: Path) -> None:
    for name in ("ca", "certificate", "key"):
        (tmp_path / name).write_text("-----BEGIN X-----")
    settings = PostgresSettings(
        sslmode="verify-full",
        ca_file=tmp_path / "ca",
        certificate_file=tmp_path / "certificate",
        key_file=tmp_path / "key",
    )

    login = conninfo_to_dict(settings.conninfo())

    assert (login["sslmode"], login["sslrootcert"], login["sslcert"], login["sslkey"]) == (
        "verify-full",
        str(tmp_path / "ca"),
        str(tmp_path / "certificate"),
        str(tmp_path / "key"),
    )


@pytest.mark.parametrize(
    ("values", "header"),
    [
        ({}, None),
        ({"username": "somebody", "password": "hunter2"}, "Basic c29tZWJvZHk6aHVudGVyMg=="),
        ({"token": "abc"}, "Bearer abc"),
    ],
)
def test_the_registry_is_asked_with_the_header_of_its_way_to_log_in(
    values: dict[str, str], header: str | None
) -> None:
    assert RegistrySettings.model_validate(values).authorization() == header
