-- A record that the API rejects waits for a person.
SELECT sequin_enqueue('create', 'regress', 'salesforce:contact', '{"data": {"Email": "nobody"}}') AS rejected \gset
SELECT sequin_await_delivery(ARRAY[:rejected], 60000);
SELECT kind, state, attempts, next_attempt_at, outcome, error FROM sequin.dead_letters WHERE id = :rejected;

-- It is sent again when a person says so.
SELECT sequin_retry(:rejected);
DO $$
BEGIN
  WHILE NOT EXISTS (SELECT FROM sequin.dead_letters WHERE attempts = 2) LOOP
    COMMIT;
    PERFORM pg_sleep(0.01);
  END LOOP;
END $$;
SELECT sequin_discard(:rejected);
SELECT data, outcome FROM sequin.delivered WHERE id = :rejected;

-- The next change of the record is merged with the rejected one.
SELECT upstream_id AS chani FROM sequin_create('regress', 'salesforce:contact', '{"LastName": "Kynes"}') \gset
SELECT sequin_enqueue('update', 'regress', 'salesforce:contact',
         jsonb_build_object('upstream_id', :'chani', 'data', '{"FirstName": "Chani", "Email": "nobody"}'::jsonb)) AS wrong \gset
SELECT sequin_await_delivery(ARRAY[:wrong], 60000);
SELECT state FROM sequin.outbox WHERE id = :wrong;
SELECT sequin_enqueue('update', 'regress', 'salesforce:contact',
         jsonb_build_object('upstream_id', :'chani', 'data', '{"Email": "chani@tabr.org"}'::jsonb)) AS right \gset
SELECT sequin_await_delivery(ARRAY[:right], 60000);
SELECT data, outcome FROM sequin.delivered WHERE id IN (:wrong, :right) ORDER BY id;
SELECT data FROM sequin_update('regress', 'salesforce:contact', :'chani', '{}');

-- Only an unknown create can be resolved.
SELECT sequin_enqueue('create', 'regress', 'salesforce:contact', '{"data": {"Email": "nobody"}}') AS rejected \gset
SELECT sequin_await_delivery(ARRAY[:rejected], 60000);
\set VERBOSITY sqlstate
SELECT sequin_resolve(:rejected, '42');
SELECT sequin_discard(:rejected);
SELECT sequin_discard(:rejected);
SELECT sequin_retry(NULL);
