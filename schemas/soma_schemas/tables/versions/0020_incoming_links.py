"""The links that end at a memory are read in their order, page by page, however many they are."""

from soma_schemas.tables.statements import run

revision = "0020"
down_revision = "0019"

# An index is made before the other one goes: readers would be kept out as long as this takes.


def upgrade() -> None:
    run("""
    CREATE INDEX memory_links_by_end ON memory_links (tenant, to_memory_id, link_type, from_memory_id)
        WHERE NOT deleted;
    DROP INDEX memory_links_by_target;
    """)


def downgrade() -> None:
    run("""
    CREATE INDEX memory_links_by_target ON memory_links (tenant, to_memory_id, link_type) WHERE NOT deleted;
    DROP INDEX memory_links_by_end;
    """)
