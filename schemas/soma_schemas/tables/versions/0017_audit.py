"""The audit log: tables of control data put on record what changes in them, and a tenant can read its own.

A trigger writes in the transaction of the change, so that no program can forget it, nor can somebody who
changes a table by hand. It writes ids, roles and policies; no secret, and of an erasure not whom it is about.
"""

from soma_schemas.tables.statements import run

revision = "0017"
down_revision = "0016"

RECORD = """
CREATE FUNCTION soma_record_key_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    key public.api_keys := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    act text := CASE TG_OP WHEN 'INSERT' THEN 'create' WHEN 'DELETE' THEN 'delete' ELSE 'change' END;
    said jsonb := jsonb_build_object(
        'role', key.role, 'namespaces', key.namespaces, 'label', key.label, 'expires_at', key.expires_at
    );
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at THEN
        act := 'revoke';
        said := '{}';
    ELSIF TG_OP = 'UPDATE' AND NEW.secret_hash IS DISTINCT FROM OLD.secret_hash THEN
        act := 'rotate';
        said := jsonb_build_object('former_expires_at', key.former_expires_at);
    ELSIF TG_OP = 'UPDATE' AND (NEW.key_id, NEW.tenant, NEW.role, NEW.namespaces, NEW.label, NEW.expires_at)
        IS NOT DISTINCT FROM (OLD.key_id, OLD.tenant, OLD.role, OLD.namespaces, OLD.label, OLD.expires_at)
    THEN
        RETURN NULL;
    END IF;
    INSERT INTO public.audit_log (tenant, actor, action, subject, details)
    VALUES (key.tenant, 'login:' || session_user, 'api_key.' || act, key.key_id, jsonb_strip_nulls(said));
    RETURN NULL;
END
$$;
CREATE TRIGGER on_record AFTER INSERT OR DELETE OR UPDATE OF
    key_id, tenant, role, namespaces, label, expires_at, revoked_at, secret_hash
    ON api_keys FOR EACH ROW EXECUTE FUNCTION soma_record_key_change();

CREATE FUNCTION soma_record_policy_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        -- The log says it with a tombstone, which names nobody.
        INSERT INTO public.audit_log (tenant, actor, action, subject)
        VALUES (OLD.tenant, 'memory.policies', 'retention_policy.lifted', nullif(OLD.namespace, ''));
    ELSE
        INSERT INTO public.audit_log (tenant, actor, action, subject, details)
        VALUES (
            NEW.tenant, NEW.actor, 'retention_policy.set', nullif(NEW.namespace, ''),
            jsonb_strip_nulls(jsonb_build_object('rules', NEW.rules, 'cap', NEW.cap, 'set_at', NEW.set_at))
        );
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER on_record AFTER INSERT OR DELETE OR UPDATE
    ON retention_policies FOR EACH ROW EXECUTE FUNCTION soma_record_policy_change();

CREATE FUNCTION soma_record_erasure() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    INSERT INTO public.audit_log (tenant, actor, action, subject, details)
    VALUES (
        NEW.tenant, NEW.actor, 'erasure.requested', NEW.request_id::text,
        jsonb_build_object('scope', NEW.scope, 'requested_at', NEW.requested_at)
    );
    RETURN NULL;
END
$$;
CREATE TRIGGER on_record AFTER INSERT
    ON erasures FOR EACH ROW EXECUTE FUNCTION soma_record_erasure();
REVOKE ALL ON FUNCTION soma_record_key_change, soma_record_policy_change, soma_record_erasure FROM PUBLIC;

GRANT SELECT ON audit_log TO soma_readers;
CREATE POLICY own_tenant_reads ON audit_log FOR SELECT TO soma_readers
    USING (coalesce(tenant = current_setting('soma.tenant', true), false));
"""


def upgrade() -> None:
    run(RECORD)


def downgrade() -> None:
    run("""
    DROP POLICY own_tenant_reads ON audit_log;
    REVOKE SELECT ON audit_log FROM soma_readers;
    DROP TRIGGER on_record ON erasures;
    DROP TRIGGER on_record ON retention_policies;
    DROP TRIGGER on_record ON api_keys;
    DROP FUNCTION soma_record_key_change, soma_record_policy_change, soma_record_erasure;
    """)
