-- A role needs EXECUTE on the function and USAGE on the server.
CREATE ROLE regress_sequin_app;
GRANT CREATE ON SCHEMA public TO regress_sequin_app;
SET ROLE regress_sequin_app;
\set VERBOSITY terse
SELECT * FROM sequin_create('regress', 'salesforce:contact', '{}');
SELECT sequin_enqueue('create', 'regress', 'salesforce:contact', '{"data": {}}');
RESET ROLE;

GRANT EXECUTE ON FUNCTION sequin_create, sequin_enqueue, sequin_await_delivery, sequin_discard, sequin_pause
  TO regress_sequin_app;
SET ROLE regress_sequin_app;
SELECT * FROM sequin_create('regress', 'salesforce:contact', '{}');
SELECT sequin_enqueue('create', 'regress', 'salesforce:contact', '{"data": {}}');
SELECT sequin_pause('sequin');
RESET ROLE;

GRANT USAGE ON FOREIGN SERVER sequin TO regress_sequin_app;
SELECT sequin_enqueue('create', 'regress', 'salesforce:contact', '{"data": {"LastName": "Superuser"}}') AS others \gset
SET ROLE regress_sequin_app;
SELECT data FROM sequin_create('regress', 'salesforce:contact', '{"LastName": "App"}');
SELECT sequin_enqueue('create', 'regress', 'salesforce:contact', '{"data": {"LastName": "App"}}') AS own \gset
SELECT sequin_await_delivery(ARRAY[:own, :others], 60000);

-- A role sees what it enqueued, and settles nothing else.
SELECT role, data FROM sequin.delivered WHERE id IN (:own, :others);
\set VERBOSITY sqlstate
SELECT sequin_discard(:others);
\set VERBOSITY terse

-- The token and the inner tables are out of its reach.
SELECT umoptions FROM pg_user_mappings WHERE srvname = 'sequin';
SELECT count(*) FROM sequin.queue;
RESET ROLE;
DROP OWNED BY regress_sequin_app;
DROP ROLE regress_sequin_app;
