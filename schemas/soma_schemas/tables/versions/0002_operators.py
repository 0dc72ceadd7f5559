"""The role of whoever looks after dead letters: it decides about them, and reads and changes nothing else.

It sees what became of events, never what they say: the content lies in the dead-letter topic, which wants a
login of the brokers, and in columns of other tables, which this role does not have. Of the audit log it sees
and adds what concerns dead letters.

The owner is given the role too, without its rights by default: a command that was started with the owner's
login takes the role on and thereby gives up everything else.
"""

from soma_schemas.tables.roles import OPERATORS
from soma_schemas.tables.statements import run

revision = "0002"
down_revision = "0001"

GRANTS = """
GRANT USAGE ON SCHEMA public TO soma_operators;
GRANT SELECT ON alembic_version, sink_watermarks TO soma_operators;
GRANT SELECT, UPDATE (status, status_changed_at) ON dead_letters TO soma_operators;
GRANT SELECT (partition, version, logged_at, tenant, memory_id, outcome, reason, error_code)
    ON memory_history TO soma_operators;
GRANT SELECT, INSERT ON audit_log TO soma_operators;

CREATE POLICY operators_every_tenant ON dead_letters TO soma_operators USING (true);
CREATE POLICY operators_every_tenant ON memory_history FOR SELECT TO soma_operators USING (true);
CREATE POLICY operators_add ON audit_log FOR INSERT TO soma_operators
    WITH CHECK (action LIKE 'dead_letter.%');
CREATE POLICY operators_read ON audit_log FOR SELECT TO soma_operators
    USING (action LIKE 'dead_letter.%');

-- What was done about one letter.
CREATE INDEX audit_log_by_subject ON audit_log (subject) WHERE subject IS NOT NULL;
"""


def upgrade() -> None:
    run(OPERATORS)
    run(GRANTS)


def downgrade() -> None:
    # The role stays: it belongs to the cluster, and other databases may use it.
    run("""
    DROP INDEX audit_log_by_subject;
    DROP POLICY operators_read ON audit_log;
    DROP POLICY operators_add ON audit_log;
    DROP POLICY operators_every_tenant ON memory_history;
    DROP POLICY operators_every_tenant ON dead_letters;
    REVOKE ALL ON audit_log, memory_history, dead_letters, sink_watermarks, alembic_version
        FROM soma_operators;
    REVOKE UPDATE (status, status_changed_at) ON dead_letters FROM soma_operators;
    REVOKE SELECT (partition, version, logged_at, tenant, memory_id, outcome, reason, error_code)
        ON memory_history FROM soma_operators;
    REVOKE USAGE ON SCHEMA public FROM soma_operators;
    DO $$ BEGIN
        EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM soma_operators', current_database());
    END $$;
    """)
