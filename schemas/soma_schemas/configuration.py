"""Read settings once, at the root: defaults, then a TOML file, then secret files, then the environment."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from soma_schemas.errors import ConfigurationError
from soma_schemas.secret_files import FileSecret
from soma_schemas.settings import ENVIRONMENT_PREFIX, NESTED_DELIMITER, ProcessSettings

GroupT = TypeVar("GroupT", bound=BaseModel)
SettingsT = TypeVar("SettingsT", bound=ProcessSettings)
SettingsT_co = TypeVar("SettingsT_co", bound=ProcessSettings, covariant=True)

# Read by the composition root itself, before there are settings.
RESERVED_NAMES = frozenset(
    {"HOME", "CACHE", "CONFIG_FILE", "SECRETS_DIR", "URL", "API_KEY", "CA_FILE", "TEST_STACK"}
)

REDACTED = "**********"


@dataclass(frozen=True)
class Setting:
    """One effective value, fit to be shown.

    Attributes:
        name: As an environment variable.
        value: JSON-ready; secrets are redacted.
        origin: `default`, `file`, `secret` or `environment`.
        description: What the value does.
    """

    name: str
    value: Any
    origin: str
    description: str


@dataclass(frozen=True)
class Loaded(Generic[SettingsT_co]):
    """Settings, and where each value came from."""

    settings: SettingsT_co
    effective: tuple[Setting, ...]


def load(
    process: type[SettingsT],
    *,
    environment: Mapping[str, str],
    known: Sequence[type[ProcessSettings]] = (),
) -> Loaded[SettingsT]:
    """Read one process's settings.

    White space around the value of a variable, or around what a secret's file holds, is no part of it. A
    secret that comes from a file is read again whenever it is used, so that it can be replaced meanwhile.

    Args:
        process: The settings class of the process.
        environment: Usually `os.environ`. `SOMA_CONFIG_FILE` names a TOML file, `SOMA_SECRETS_DIR` a folder
            with one file per secret, named like the variable.
        known: Settings classes of all processes, whose parts may stand in the same file and environment.

    Raises:
        ConfigurationError: A value is wrong, a name is unknown, or a file cannot be read.
    """
    parts = set(process.model_fields).union(*(each.model_fields for each in known))
    file = _from_file(environment)
    secrets = _secret_files(environment)
    _refuse_unknown(parts, {**secrets, **environment}, file)
    sources = {
        "file": file,
        "secret": _from_variables(process, secrets),
        "environment": _from_variables(process, environment),
    }
    merged: dict[str, Any] = {}
    for source in sources.values():
        _merge(merged, {name: value for name, value in source.items() if name in process.model_fields})
    try:
        settings = process(**merged)
    except ValidationError as error:
        raise ConfigurationError(
            "; ".join(
                _fault(variable_name(finding["loc"]), finding["type"], finding["msg"])
                for finding in error.errors(include_url=False, include_input=False, include_context=False)
            ),
            remedy="Correct it; `soma config docs` lists every setting.",
        ) from None
    bound = _bound(settings, _own_files(environment, secrets))
    return Loaded(bound, tuple(_effective(bound, sources)))


def _fault(name: str, kind: str, message: str) -> str:
    # What pydantic puts before the words of a rule between settings.
    words = message.removeprefix("Value error, ")
    return f"unknown setting: {name}" if kind == "extra_forbidden" else f"{name}: {words}"


def variable_name(path: Sequence[str | int]) -> str:
    """Return the environment variable that sets a value."""
    return ENVIRONMENT_PREFIX + NESTED_DELIMITER.join(str(part).upper() for part in path)


def describe(process: type[ProcessSettings]) -> Iterator[Setting]:
    """Yield every setting of a process with its default."""
    yield from _effective(process(), {})


def as_environment(settings: BaseModel) -> dict[str, str]:
    """Return settings as environment variables, secrets in the clear: for a child process, not for a log."""
    return {variable_name(path): _plain(value) for path, value, _ in _leaves(settings) if value is not None}


def secrets_in(settings: BaseModel) -> frozenset[str]:
    """Return which of the variables of settings are secrets."""
    return frozenset(
        variable_name(path) for path, value, _ in _leaves(settings) if isinstance(value, SecretStr)
    )


def _plain(value: object) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case bool():
            return str(value).lower()
        case _ if hasattr(value, "total_seconds"):
            return str(value.total_seconds())
        case _:
            return str(value)


def _from_file(environment: Mapping[str, str]) -> dict[str, Any]:
    name = environment.get(f"{ENVIRONMENT_PREFIX}CONFIG_FILE", "").strip()
    if not name:
        return {}
    try:
        return tomllib.loads(Path(name).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the settings file {name}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{name} is not TOML: {error}") from error


def _secret_files(environment: Mapping[str, str]) -> dict[str, str]:
    name = environment.get(f"{ENVIRONMENT_PREFIX}SECRETS_DIR", "").strip()
    if not name:
        return {}
    try:
        return {
            file.name.upper(): file.read_text(encoding="utf-8-sig", errors="surrogateescape")
            for file in sorted(Path(name).iterdir())
            if file.is_file() and file.name.upper().startswith(ENVIRONMENT_PREFIX)
        }
    except OSError as error:
        raise ConfigurationError(f"cannot read the secrets folder {name}: {error.strerror}") from error


def _own_files(environment: Mapping[str, str], secrets: Mapping[str, str]) -> dict[str, Path]:
    """Return the files of the secrets that count, by their variables: the environment goes before them."""
    folder = Path(environment.get(f"{ENVIRONMENT_PREFIX}SECRETS_DIR", "").strip())
    set_otherwise = {name.upper() for name in environment}
    counting = secrets.keys() - set_otherwise
    return (
        {}
        if not counting
        else {file.name.upper(): file for file in sorted(folder.iterdir()) if file.name.upper() in counting}
    )


def _bound(settings: GroupT, files: Mapping[str, Path], path: tuple[str, ...] = ()) -> GroupT:
    """Return settings whose secrets are read from their files again whenever they are asked for."""
    bound: dict[str, object] = {}
    for name in type(settings).model_fields:
        value, place = getattr(settings, name), (*path, name)
        file = files.get(variable_name(place))
        if isinstance(value, BaseModel):
            bound[name] = _bound(value, files, place)
        elif isinstance(value, SecretStr) and file is not None:
            bound[name] = FileSecret(file, value.get_secret_value())
    return settings.model_copy(update=bound)


class _Variables(EnvSettingsSource):
    """pydantic-settings' own reading of variables, over a mapping that we hand in."""

    def __init__(self, process: type[ProcessSettings], variables: Mapping[str, str]) -> None:
        # It comes along from a shell, or from a file with the line ends of another system.
        self._given = {name.lower(): value.strip() for name, value in variables.items()}
        super().__init__(process)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._given


def _from_variables(process: type[ProcessSettings], variables: Mapping[str, str]) -> dict[str, Any]:
    for name, value in variables.items():
        if _is_setting(name) and not _is_plain(value.strip()):
            raise ConfigurationError(
                f"{name} holds a control character, or bytes that are no UTF-8",
                remedy="Set it again; a copy may bring along what is not seen.",
            )
    try:
        return _Variables(process, variables)()
    except SettingsError as error:
        # Not chained: its cause quotes the value.
        raise ConfigurationError(f"{error}: not what a setting of this kind looks like") from None


def _is_setting(name: str) -> bool:
    return name.startswith(ENVIRONMENT_PREFIX) and name.removeprefix(ENVIRONMENT_PREFIX) not in RESERVED_NAMES


def _is_plain(value: str) -> bool:
    # Python spells bytes of the environment that are no UTF-8 as surrogates.
    return not any(character < " " or "\ud800" <= character <= "\udfff" for character in value)


def _refuse_unknown(parts: set[str], environment: Mapping[str, str], file: Mapping[str, Any]) -> None:
    unknown = [
        name
        for name in environment
        if _is_setting(name)
        and (
            (rest := name.removeprefix(ENVIRONMENT_PREFIX)).split(NESTED_DELIMITER)[0].lower() not in parts
            or NESTED_DELIMITER not in rest
        )
    ]
    unknown += [f"[{name}] in the settings file" for name in file if name not in parts]
    if unknown:
        raise ConfigurationError(
            f"unknown setting: {', '.join(sorted(unknown))}",
            remedy="Check the spelling; `soma config docs` lists every setting.",
        )


def _merge(into: dict[str, Any], source: Mapping[str, Any]) -> None:
    for name, value in source.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = dict(value) if isinstance(value, Mapping) else value


def _effective(settings: BaseModel, sources: Mapping[str, Mapping[str, Any]]) -> Iterator[Setting]:
    for path, value, description in _leaves(settings):
        origin = "default"
        for name, source in sources.items():
            if _has(source, path):
                origin = name
        shown = REDACTED if isinstance(value, SecretStr) else _json_ready(value)
        yield Setting(variable_name(path), shown, origin, description)


def _json_ready(value: object) -> Any:
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _leaves(settings: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value, field.description or ""


def _has(source: Mapping[str, Any], path: Sequence[str]) -> bool:
    inner: Any = source
    for part in path:
        if not isinstance(inner, Mapping) or part not in inner:
            return False
        inner = inner[part]
    return True
