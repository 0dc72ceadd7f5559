"""Users of a secure broker and their ACLs; apart from `security`, because the client takes long to import."""

from collections.abc import Collection, Mapping
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from soma_schemas.kafka_access import Operation, Resource, Right, Service, rights_of
from soma_schemas.settings import TopicSettings
from soma_schemas.topic_admin import broker_error

_ITERATIONS = 4096
_ANSWER_SECONDS = 30.0
_OPERATIONS = {
    Operation.READ: AclOperation.READ,
    Operation.WRITE: AclOperation.WRITE,
    Operation.DESCRIBE: AclOperation.DESCRIBE,
    Operation.DESCRIBE_CONFIGS: AclOperation.DESCRIBE_CONFIGS,
    Operation.DELETE: AclOperation.DELETE,
}
_RESOURCES = {Resource.TOPIC: ResourceType.TOPIC, Resource.GROUP: ResourceType.GROUP}


def apply_users(admin: AdminClient, passwords: Mapping[str, str]) -> None:
    """Make users of the brokers, or give them other passwords; blocks.

    Raises:
        BrokerError: The brokers cannot be reached or refuse.
    """
    wanted: list[UserScramCredentialAlteration] = [
        UserScramCredentialUpsertion(
            name, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS), password.encode()
        )
        for name, password in passwords.items()
    ]
    _await(admin.alter_user_scram_credentials(wanted).values())


def apply_rights(
    admin: AdminClient, services: Collection[Service], topics: TopicSettings, user: str | None = None
) -> None:
    """Grant services what they may do, and nobody anything else; blocks.

    Args:
        admin: Of a user who may.
        services: Which of them.
        topics: How the topics are laid out.
        user: Who is all of these services; without, each has a user that is called like it.

    Raises:
        BrokerError: The brokers cannot be reached or refuse.
    """
    bindings = {
        binding: None
        for service in services
        for right in rights_of(service, topics)
        for binding in _bindings(user or service.value, right)
    }
    _await(admin.create_acls(list(bindings)).values())


def _bindings(user: str, right: Right) -> list[AclBinding]:
    pattern = ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL
    return [
        AclBinding(
            _RESOURCES[right.resource],
            right.name,
            pattern,
            f"User:{user}",
            "*",
            _OPERATIONS[operation],
            AclPermissionType.ALLOW,
        )
        for operation in right.operations
    ]


def _await(answers: Any) -> None:
    try:
        for answer in answers:
            answer.result(_ANSWER_SECONDS)
    except KafkaException as error:
        raise broker_error(error) from error
