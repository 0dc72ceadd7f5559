"""Where memories come from: a column more, which is empty in what is there.

Nobody waits for the look through the rows that are there.
"""

from soma_schemas.tables.statements import commit, run

revision = "0007"
down_revision = "0006"

WHOLE_OR_GONE = """
ALTER TABLE memories
    DROP CONSTRAINT IF EXISTS memories_are_whole_or_gone,
    ADD CONSTRAINT memories_are_whole_or_gone CHECK (
        CASE WHEN deleted THEN
            num_nonnulls(
                namespace, key, coordinate, kind, text, payload, tags, importance, embedding, embedding_model,
                subject, {more}expires_at, occurred_at, actor, created_at, access_count, last_accessed_at
            ) = 0
        ELSE
            num_nulls(
                namespace, kind, text, payload, tags, importance, occurred_at, actor, created_at, access_count
            ) = 0
        END
    ) NOT VALID;
"""
VALIDATED = "ALTER TABLE memories VALIDATE CONSTRAINT memories_are_whole_or_gone;"


def upgrade() -> None:
    # A run that was interrupted at the commit is begun anew.
    run('ALTER TABLE memories ADD COLUMN IF NOT EXISTS source text COLLATE "C";')
    run(WHOLE_OR_GONE.format(more="source, "))
    commit()
    run(VALIDATED)


def downgrade() -> None:
    run(WHOLE_OR_GONE.format(more=""))
    run("ALTER TABLE memories DROP COLUMN IF EXISTS source;")
    commit()
    run(VALIDATED)
