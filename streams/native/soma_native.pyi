"""Says of stored memories which are sound, as records or as values; writes the rows and the records of these.

What is called sound is what fastavro and the model take; everything else is theirs, above all what is wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, final

Rule: TypeAlias = tuple[Any, ...]
Step: TypeAlias = int | tuple[Any, ...]

@final
class Reader:
    """Reads records.

    Args:
        fields: Name, rule and whether it can be null, of each field that is known. A rule is a word and its
            bounds: `uuid`, `tenant`, `namespace` (segments, characters of one, bytes), `bytes` or
            `characters` (at most), `json` (bytes, depth), `texts` (how many, characters of one), `share`,
            `doubles` or `floats` (how many), `moment`, `below` (a number), `symbol` (the names).
        identity: The UUID under which ids are made of names, as 16 bytes.

    Raises:
        ValueError: They do not fit together.
    """

    def __new__(cls, fields: Sequence[tuple[str, Rule, bool]], identity: bytes) -> Reader: ...
    def for_writers(self, writers: Mapping[int, Sequence[Step]]) -> Reader:
        """Return the same reader for records of these schemas, and of no other.

        Args:
            writers: For each schema id what to do with the fields of its records, in their order: the place
                of a known field, or what to pass over, as a word and what belongs to it: `fixed` (bytes),
                `long`, `sized`, `array` or `map` (an item), `union` or `record` (several).

        Raises:
            ValueError: One has a field twice, or lacks one that cannot be null.
        """

    def read(self, values: list[Any], keys: list[Any]) -> Read:
        """Read values with their keys, without the interpreter's lock.

        What is not of type bytes itself is never sound.
        """

    def writer(
        self,
        schema: Sequence[int],
        given: Sequence[str],
        uuid: type,
        datetime: type,
        micros: Callable[[Any], int],
        kinds: Sequence[Any],
    ) -> Writer:
        """Return a writer of records whose schema has these fields, in this order.

        Args:
            schema: The places of the fields.
            given: The names of the fields in the order in which they are given to the writer.
            uuid: The class of ids.
            datetime: The class of times.
            micros: Returns the microseconds since 1970 of a time.
            kinds: The members of the enumeration, in the order of its names.

        Raises:
            ValueError: One is missing, or is there twice.
        """

    def layout(self, columns: Sequence[tuple[int, tuple[Any, ...]]]) -> Layout:
        """Return a row type of columns: the number of its type, and where each comes from.

        That is a word and what belongs to it: `field` or `array_of` (its name), `constant` (length and
        content, as PostgreSQL takes them), `version`, `logged_at`, `partition`, `content` (the names of
        fields for a JSON object).
        """

@final
class Writer:
    """Writes records."""

    def write(self, values: tuple[Any, ...], /) -> tuple[bytes, bytes] | None:
        """Return the key and the body of a record, or None: the reference has to look at it.

        Args:
            values: Of the fields, in the order told. Where the memory's id is None, its key or its coordinate
                gives it. Items are in a list or a tuple; JSON is a text, or a dictionary that becomes one.
        """

@final
class Layout:
    """What the columns of a row type are made of."""

@final
class Read:
    """Records that were read. They keep their values from being freed."""

    @property
    def verdicts(self) -> bytes:
        """For each record 0: look closer, 1: sound, 2: sound, and applied only onto a certain version."""

    def fields(self, number: int, /) -> dict[str, Any]:
        """Return the fields of a sound record: ids as 16 bytes, times as microseconds since 1970.

        Raises:
            IndexError: It is none.
        """

    def rows(
        self,
        layout: Layout,
        chosen: Sequence[int],
        versions: Sequence[int],
        logged_at: Sequence[int],
        partition: int,
        *,
        among: Sequence[tuple[bytes, bytes, bytes]] | None = None,
    ) -> bytes:
        """Return rows as elements of an array in PostgreSQL's binary form, without the interpreter's lock.

        Args:
            layout: Made by the same reader, for whatever writers.
            chosen: The numbers of sound records.
            versions: Of each.
            logged_at: Of each, in microseconds since 1970.
            partition: Of the log.
            among: Others that are merged with these in the order of tenant and memory id: both, and the row.
                None leaves the order as it is.

        Raises:
            IndexError: A record is not sound.
            ValueError: The layout is of another reader, or the lists are not of one length.
            OverflowError: A row is too long for PostgreSQL.
        """
