-- A table that is attached to the outbox: no statement waits for the API, and the ids come after delivery.
CREATE TABLE customers (id integer PRIMARY KEY, name text, stripe_id text);
SELECT sequin_attach('customers', 'regress', 'stripe:customer', 'stripe_id');
SELECT sequin_pause('sequin');
INSERT INTO customers (id, name) VALUES (1, 'Leto'), (2, 'Duncan'), (3, 'Yueh');
UPDATE customers SET name = 'Leto II' WHERE id = 1;
DELETE FROM customers WHERE id = 3;
SELECT relation, ordering_key, kind, data, state FROM sequin.outbox WHERE relation = 'customers'::regclass ORDER BY id;
SELECT array_agg(id) AS ids FROM sequin.outbox WHERE relation = 'customers'::regclass \gset
SELECT sequin_resume('sequin');
SELECT sequin_await_delivery(:'ids', 60000);
SELECT ordering_key, kind, data, outcome FROM sequin.delivered WHERE relation = 'customers'::regclass ORDER BY id;

-- The worker writes each id into its row.
DO $$
BEGIN
  WHILE EXISTS (SELECT FROM customers WHERE stripe_id IS NULL) LOOP
    COMMIT;
    PERFORM pg_sleep(0.01);
  END LOOP;
END $$;
SELECT c.id, c.name, c.stripe_id = d.upstream_id AS is_the_one
FROM customers c JOIN sequin.delivered d ON d.ordering_key = format('[%s]', c.id) AND d.kind = 'create' AND d.relation = 'customers'::regclass
ORDER BY c.id;

-- A row that moves within a transaction keeps its record: what differs is an update.
BEGIN;
CREATE TEMPORARY TABLE moving ON COMMIT DROP AS SELECT * FROM customers WHERE id = 1;
DELETE FROM customers WHERE id = 1;
INSERT INTO customers SELECT 10, 'Leto, the Emperor', stripe_id FROM moving;
COMMIT;
SELECT sequin_await_delivery(coalesce(array_agg(id), '{}'), 60000) FROM sequin.outbox;
SELECT ordering_key, kind, data, outcome FROM sequin.delivered
WHERE relation = 'customers'::regclass AND kind <> 'create' AND ordering_key <> '[3]' ORDER BY id;
SELECT sequin_detach('customers');
DROP TABLE customers;
