-- A row trigger that calls: each change of the table changes Salesforce within the same statement.
-- Needs a server object named "sequin" (README.md). 'my-sync-id' is the id of your sync.
--
-- If Salesforce refuses a row, the statement fails and the table stays as it was. But if the transaction fails after the
-- call, Salesforce keeps the change.

CREATE TABLE customers (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  email text NOT NULL UNIQUE,
  contact_id text                -- the upstream_id, written by the trigger
);

CREATE FUNCTION customer_to_salesforce() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  created sequin_record;
BEGIN
  CASE TG_OP
    WHEN 'INSERT' THEN
      created := sequin_create('my-sync-id', 'salesforce:contact',
        jsonb_build_object('LastName', NEW.name, 'Email', NEW.email));
      UPDATE customers SET contact_id = created.upstream_id WHERE id = NEW.id;
    WHEN 'UPDATE' THEN
      PERFORM sequin_mutate('update', 'my-sync-id', 'salesforce:contact',
        jsonb_build_object('upstream_id', NEW.contact_id,
          'data', jsonb_build_object('LastName', NEW.name, 'Email', NEW.email)));
    WHEN 'DELETE' THEN
      PERFORM sequin_delete('my-sync-id', 'salesforce:contact', OLD.contact_id);
  END CASE;
  RETURN NULL;  -- an AFTER trigger's result is ignored
END $$;

-- AFTER, not BEFORE: then Postgres has checked the constraints, and ON CONFLICT DO NOTHING has skipped its rows. The name
-- sorts after "RI_ConstraintTrigger", so that foreign keys are checked first, too.
CREATE TRIGGER to_salesforce_insert AFTER INSERT ON customers
  FOR EACH ROW EXECUTE FUNCTION customer_to_salesforce();

-- OF name, email excludes the UPDATE of contact_id above. WHEN excludes updates that change nothing.
CREATE TRIGGER to_salesforce_update AFTER UPDATE OF name, email ON customers
  FOR EACH ROW WHEN ((OLD.name, OLD.email) IS DISTINCT FROM (NEW.name, NEW.email))
  EXECUTE FUNCTION customer_to_salesforce();

-- A row without a contact_id has no contact to delete.
CREATE TRIGGER to_salesforce_delete AFTER DELETE ON customers
  FOR EACH ROW WHEN (OLD.contact_id IS NOT NULL)
  EXECUTE FUNCTION customer_to_salesforce();

INSERT INTO customers (name, email) VALUES ('Stilgar', 'stilgar@tabr.org'), ('Chani', 'chani@tabr.org');
UPDATE customers SET email = 'chani@arrakis.org' WHERE name = 'Chani';
UPDATE customers SET name = name;                                               -- sends nothing
INSERT INTO customers (name, email) VALUES ('Usul', 'stilgar@tabr.org') ON CONFLICT DO NOTHING;  -- sends nothing
DELETE FROM customers WHERE name = 'Stilgar';

SELECT name, email, contact_id IS NOT NULL AS is_in_salesforce FROM customers;
