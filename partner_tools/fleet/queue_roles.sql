-- The rights of the ledger's roles on the queue, where the roles exist. May be repeated.
DO $$
DECLARE
    role text;
    tables text := 'procrastinate_jobs, procrastinate_events, procrastinate_periodic_defers,'
        ' procrastinate_workers';
BEGIN
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname IN (
        'partner_tools_submit', 'partner_tools_worker', 'partner_tools_auditor'
    ) LOOP
        EXECUTE format('GRANT SELECT ON fleet_queue_version, %s TO %I', tables, role);
        IF role = 'partner_tools_submit' THEN
            EXECUTE format(
                'GRANT INSERT ON procrastinate_jobs, procrastinate_events TO %I', role
            );
        ELSIF role = 'partner_tools_worker' THEN
            EXECUTE format('GRANT INSERT, UPDATE, DELETE ON %s TO %I', tables, role);
        END IF;
        IF role <> 'partner_tools_auditor' THEN
            EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO %I', role);
        END IF;
    END LOOP;
END $$;
