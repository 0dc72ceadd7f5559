"""How large a memory may be: checked at the producer, at the gateway and again at the sink."""

from pydantic import BaseModel, ConfigDict, Field

MAX_NAMESPACE_SEGMENTS = 16
MAX_SEGMENT_CHARACTERS = 128
# PostgreSQL's indexes take rows of 2.7 kB; sixteen segments of 128 ASCII characters are 2063 bytes.
MAX_NAMESPACE_BYTES = 2500
MAX_PAYLOAD_DEPTH = 64


class Limits(BaseModel):
    """Upper bounds of what one event may carry. Raising one affects every store behind the log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text_bytes: int = Field(64 * 1024, gt=0, description="Maximum size of a text, in bytes of UTF-8.")
    payload_bytes: int = Field(
        256 * 1024, gt=0, description="Maximum size of a payload, in bytes of JSON as UTF-8."
    )
    tags: int = Field(64, gt=0, description="Maximum number of tags of a memory.")
    tag_characters: int = Field(128, gt=0, description="Maximum length of a tag, in characters.")
    coordinate_dimensions: int = Field(16, gt=0, description="Maximum number of dimensions of a coordinate.")
    key_characters: int = Field(512, gt=0, description="Maximum length of a key, in characters.")
    embedding_dimensions: int = Field(
        4096, gt=0, description="Maximum number of dimensions of an embedding in an event."
    )
    name_characters: int = Field(
        256,
        gt=0,
        description="Maximum length of an actor, subject, link type or embedding model, in characters.",
    )
    batch_items: int = Field(1000, gt=0, description="Maximum number of memories in one batch request.")


DEFAULT_LIMITS = Limits()
