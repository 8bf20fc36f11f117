-- The second wall between tenants: to the role hindsight_tenant, a table with tenants' data is the rows of the one that the
-- transaction names in hindsight.tenant, and a table without a tenant_id is empty. A view shows what the table behind it
-- shows. Its owner sees all, as before.
CREATE OR REPLACE FUNCTION es.wall_off(relation regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = relation) <> 'v' THEN
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
        IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = relation AND attname = 'tenant_id') THEN
            EXECUTE format(
                'CREATE POLICY one_tenant ON %s FOR SELECT USING (tenant_id = current_setting(''hindsight.tenant'')::uuid)',
                relation
            );
        END IF;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'hindsight_tenant') THEN
        EXECUTE format('GRANT SELECT ON %s TO hindsight_tenant', relation);
    END IF;
END
$$;
