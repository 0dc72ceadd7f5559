"""Acts of one kind are found among all that are on record, as `soma dlq log` and audits look for them."""

from soma_schemas.tables.statements import run

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    run("CREATE INDEX audit_log_by_action ON audit_log (action text_pattern_ops, id);")


def downgrade() -> None:
    run("DROP INDEX audit_log_by_action;")
