-- DROP EXTENSION ends the workers and takes everything along.
SET client_min_messages = warning;
DROP EXTENSION sequin_mutations CASCADE;
DO $$
BEGIN
  WHILE EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'sequin worker') LOOP
    PERFORM pg_stat_clear_snapshot();
    PERFORM pg_sleep(0.01);
  END LOOP;
END $$;
SELECT count(*) FROM pg_namespace WHERE nspname = 'sequin';
SELECT proname FROM pg_proc WHERE proname LIKE 'sequin%';
SELECT fdwname FROM pg_foreign_data_wrapper WHERE fdwname LIKE 'sequin%';
