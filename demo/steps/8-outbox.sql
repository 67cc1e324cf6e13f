-- Send after COMMIT: the outbox
-- A worker in the background sends what was committed. What was rolled back is never sent.
BEGIN;
SELECT sequin_enqueue('create', 'demo', 'stripe:customer', '{"data": {"name": "Irulan"}}') AS irulan \gset
SELECT id, kind, data, state FROM sequin.outbox;
COMMIT;

SELECT sequin_await_delivery(ARRAY[:irulan], 30000) AS is_delivered;
SELECT id, kind, data, outcome, upstream_id FROM sequin.delivered;

-- A table with the default delivery: no statement waits for the API, and the ids come later.
CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, stripe_id text);
SELECT sequin_attach('customers', 'demo', 'stripe:customer', 'stripe_id');

INSERT INTO customers (name) VALUES ('Leto');
UPDATE customers SET name = 'Leto II';

-- The worker writes the new id into its row. Wait for that, and for the rest.
DO $$ BEGIN
  WHILE EXISTS (SELECT FROM customers WHERE stripe_id IS NULL) LOOP
    COMMIT;
    PERFORM pg_sleep(0.01);
  END LOOP;
END $$;
SELECT sequin_await_delivery(COALESCE(array_agg(id), '{}'), 30000) AS is_delivered FROM sequin.outbox;
SELECT * FROM customers;
SELECT server, backlog, rejected, unknown, paused, worker_alive FROM sequin.status WHERE server = 'sequin';
