-- A row trigger that enqueues: when an order ships and the transaction commits, the outbox updates HubSpot's deal.
-- Needs a server object named "sequin" (README.md). 'my-sync-id' is the id of your sync.
--
-- The statement waits for no network, and does not fail if HubSpot is down or refuses. Refused records are in
-- sequin.dead_letters. A transaction that rolls back sends nothing.

CREATE TABLE orders (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  customer text NOT NULL,
  deal_id text NOT NULL,         -- the upstream_id of the deal
  state text NOT NULL DEFAULT 'open',
  tracking text
);

-- SECURITY DEFINER: a role that ships orders needs no privilege on the API, and cannot enqueue other records. So the
-- search_path is fixed, and names outside pg_catalog have their schema.
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

-- The UPDATE locks its row until the transaction ends. So the changes of a deal are enqueued in the order of their
-- commits.
CREATE TRIGGER order_to_hubspot AFTER UPDATE OF state ON orders
  FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state)
  EXECUTE FUNCTION order_to_hubspot();

-- The deals are created at once, because the rows need their ids.
INSERT INTO orders (customer, deal_id)
SELECT customer, (sequin_create('my-sync-id', 'hubspot:deal', jsonb_build_object('dealname', customer))).upstream_id
FROM (VALUES ('Paul'), ('Chani')) AS new (customer);

-- Rolled back: HubSpot receives nothing.
BEGIN;
UPDATE orders SET state = 'cancelled' WHERE customer = 'Chani';
ROLLBACK;

-- Both changes of the deal wait until COMMIT, and are sent as one.
BEGIN;
UPDATE orders SET state = 'paid' WHERE customer = 'Paul';
UPDATE orders SET state = 'shipped', tracking = 'HEIGHLINER-1' WHERE customer = 'Paul';
COMMIT;

-- For this demonstration only: wait for the delivery. A program that ships orders does not wait.
SELECT sequin_await_delivery(COALESCE(array_agg(id), '{}'), 10000) AS is_delivered FROM sequin.outbox;
SELECT kind, data, outcome, merged_ids IS NOT NULL AS has_merged FROM sequin.delivered ORDER BY id;
