-- A row trigger of your own that enqueues: when an order is shipped and the transaction commits, HubSpot's deal hears of it.
-- Needs a server object named "sequin" (README.md). 'my-sync-id' is the id of your sync.
--
-- The statement waits for no network, and does not fail if HubSpot is down or refuses: what is refused stands in
-- sequin.dead_letters. A transaction that is rolled back sends nothing.

CREATE TABLE orders (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  customer text NOT NULL,
  deal_id text NOT NULL,         -- the upstream_id of the deal
  state text NOT NULL DEFAULT 'open',
  tracking text
);

-- SECURITY DEFINER: whoever ships needs no right to the API, and cannot enqueue anything else. So its search_path is fixed,
-- and what is not Postgres' own is named with its schema.
CREATE FUNCTION order_to_hubspot() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM public.sequin_enqueue('update', 'my-sync-id', 'hubspot:deal',
    jsonb_build_object('upstream_id', NEW.deal_id,
      'data', jsonb_build_object('dealstage', NEW.state, 'tracking', NEW.tracking)),
    server => 'sequin');
  RETURN NULL;  -- an AFTER trigger's result is ignored
END $$;
REVOKE EXECUTE ON FUNCTION order_to_hubspot() FROM PUBLIC;

-- The row that is changed stays locked until the transaction ends, so the changes of a deal are enqueued in the order in
-- which they are committed.
CREATE TRIGGER order_to_hubspot AFTER UPDATE OF state ON orders
  FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state)
  EXECUTE FUNCTION order_to_hubspot();

-- The deals are made at once, because their ids are wanted now.
INSERT INTO orders (customer, deal_id)
SELECT customer, (sequin_create('my-sync-id', 'hubspot:deal', jsonb_build_object('dealname', customer))).upstream_id
FROM (VALUES ('Paul'), ('Chani')) AS new (customer);

-- Rolled back: HubSpot never hears of it.
BEGIN;
UPDATE orders SET state = 'cancelled' WHERE customer = 'Chani';
ROLLBACK;

-- Both changes of one deal wait until COMMIT, and are sent as one.
BEGIN;
UPDATE orders SET state = 'paid' WHERE customer = 'Paul';
UPDATE orders SET state = 'shipped', tracking = 'HEIGHLINER-1' WHERE customer = 'Paul';
COMMIT;

-- Only to show it here: wait for the delivery. The program that ships orders does not.
SELECT sequin_await_delivery(COALESCE(array_agg(id), '{}'), 10000) AS is_delivered FROM sequin.outbox;
SELECT kind, data, outcome, sent_with IS NOT NULL AS is_merged FROM sequin.delivered ORDER BY id;
