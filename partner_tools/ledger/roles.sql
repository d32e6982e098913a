-- Roles with narrow rights on a shared ledger, and rows that a depot sees. May be repeated.

-- The depots that the login may see; NULL where it may see all. `SET ROLE` does not change it.
CREATE OR REPLACE FUNCTION ledger_depots() RETURNS text[]
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
    AS $$ SELECT array_agg(depot::text) FROM depot_logins WHERE login = session_user $$;

-- Whether a worker has begun with a run. By its immutable events: the columns of `runs` are written
-- by stations too.
CREATE OR REPLACE FUNCTION ledger_is_begun(named text) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
    AS $$ SELECT EXISTS (SELECT FROM events WHERE run = named
        AND kind NOT IN ('created', 'queued', 'cancelled')) $$;

-- The only way of a station to the table `devices`: a device that it names has no target and no
-- outcome, and belongs to a run of which nothing is recorded yet.
CREATE OR REPLACE FUNCTION ledger_hand_in(
    named text, indexes int[], lines int[], serials text[], keys text[], texts text[]
) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
    AS $$ BEGIN
        IF EXISTS (SELECT FROM events WHERE run = named) OR NOT EXISTS (
            SELECT FROM runs WHERE run = named
                AND (ledger_depots() IS NULL OR depot = ANY (ledger_depots()))
        ) THEN
            RAISE insufficient_privilege USING MESSAGE = 'devices are named with a new run only';
        END IF;
        INSERT INTO devices
            (run, idx, row, serial_number, product_key_id, device, state, outcome, history)
        SELECT named, one.*, 'new', 'pending', '{}'
        FROM unnest(indexes, lines, serials, keys, texts) AS one;
    END $$;
REVOKE EXECUTE ON FUNCTION ledger_hand_in FROM PUBLIC;

-- Make the roles where this login may. The rights that an earlier version granted are taken away
-- before those of this one are granted.
DO $$
DECLARE
    role text;
    moved text := 'state, started_at, finished_at, plan_digest, devices, counts, head_n, head_hash';
    readable text := 'ledger_version, runs, plans, run_customers, devices, events, rates, paces,'
        ' depot_logins';
BEGIN
    FOREACH role IN ARRAY ARRAY[
        'partner_tools_submit', 'partner_tools_worker', 'partner_tools_auditor'
    ] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            END IF;
        EXCEPTION
            WHEN insufficient_privilege THEN RAISE NOTICE 'the role % cannot be made', role;
            WHEN duplicate_object OR unique_violation THEN NULL;
        END;
        CONTINUE WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role);
        EXECUTE format('REVOKE ALL ON %s FROM %I', readable, role);
        EXECUTE format('GRANT SELECT ON %s TO %I', readable, role);
        IF role IN ('partner_tools_submit', 'partner_tools_worker') THEN
            -- never more: recorded events stay. Which events of which runs, `of_station` says.
            EXECUTE format('GRANT INSERT ON events TO %I', role);
            EXECUTE format('GRANT UPDATE (%s) ON runs TO %I', moved, role);
        END IF;
        IF role = 'partner_tools_submit' THEN
            EXECUTE format('GRANT INSERT ON runs TO %I', role);
            EXECUTE format('GRANT EXECUTE ON FUNCTION ledger_hand_in TO %I', role);
        ELSIF role = 'partner_tools_worker' THEN
            EXECUTE format('GRANT UPDATE ON devices TO %I', role);
            EXECUTE format('GRANT INSERT, UPDATE ON plans, run_customers, rates, paces TO %I', role);
        END IF;
    END LOOP;
END $$;

-- A login that is bound to depots sees their runs only.
DO $$
DECLARE
    one text;
BEGIN
    FOREACH one IN ARRAY ARRAY['runs', 'plans', 'run_customers', 'devices', 'events'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', one);
        EXECUTE format('DROP POLICY IF EXISTS by_depot ON %I', one);
        EXECUTE format(
            'CREATE POLICY by_depot ON %I USING ((SELECT ledger_depots()) IS NULL OR %s)',
            one,
            CASE one
                WHEN 'runs' THEN 'depot = ANY ((SELECT ledger_depots())::text[])'
                ELSE 'run IN (SELECT run FROM runs)'
            END
        );
    END LOOP;
END $$;

-- A station writes a run until a worker has begun with it, and may cancel any.
DROP POLICY IF EXISTS of_station ON events;
DROP POLICY IF EXISTS of_station ON runs;
DO $$ BEGIN
    IF 2 = (
        SELECT count(*) FROM pg_roles
        WHERE rolname IN ('partner_tools_submit', 'partner_tools_worker')
    ) THEN
        CREATE POLICY of_station ON events AS RESTRICTIVE FOR INSERT TO partner_tools_submit
            WITH CHECK (
                pg_has_role('partner_tools_worker', 'MEMBER') OR kind = 'cancelled'
                OR kind IN ('created', 'queued') AND NOT ledger_is_begun(run)
            );
        CREATE POLICY of_station ON runs AS RESTRICTIVE FOR UPDATE TO partner_tools_submit
            USING (true)
            WITH CHECK (
                pg_has_role('partner_tools_worker', 'MEMBER') OR state = 'cancelled'
                OR NOT ledger_is_begun(run)
            );
    END IF;
END $$;
