"""What the tables need of the cluster around their database: roles, and rights on the database itself.

A dump of the database names the roles and does not hold them, so a restore makes them as the migrations did.
"""

from typing import Any, LiteralString

import psycopg

SINKS_AND_READERS: LiteralString = """
DO $$
DECLARE wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['soma_sinks', 'soma_readers'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database of this cluster was migrated at the same moment
            END;
        END IF;
    END LOOP;
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO soma_sinks', current_database());
END
$$;
"""

OPERATORS: LiteralString = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'soma_operators') THEN
        BEGIN
            CREATE ROLE soma_operators NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- another database of this cluster was migrated at the same moment
        END;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO soma_operators', current_database());
    BEGIN
        EXECUTE format('GRANT soma_operators TO %I WITH INHERIT FALSE, SET TRUE', current_user);
    EXCEPTION WHEN insufficient_privilege THEN
        NULL;  -- somebody else made the role, and decides who has it
    END;
END
$$;
"""

PRODUCERS: LiteralString = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'soma_producers') THEN
        BEGIN
            CREATE ROLE soma_producers NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- another database of this cluster was migrated at the same moment
        END;
    END IF;
    GRANT USAGE ON SCHEMA public TO soma_producers;
END
$$;
"""


def make_roles(connection: psycopg.Connection[Any]) -> None:
    """Make the roles that are missing, and give them their rights on the current database.

    Args:
        connection: As the owner of the database, who may create roles.

    Raises:
        psycopg.errors.InsufficientPrivilege: The login may not.
    """
    for statement in (SINKS_AND_READERS, OPERATORS, PRODUCERS):
        connection.execute(statement)
