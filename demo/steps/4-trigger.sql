-- Call it from a trigger of your own
CREATE TABLE leads (name text PRIMARY KEY, email text, salesforce_id text);

-- AFTER, not BEFORE: by then the row has passed its constraints.
CREATE FUNCTION lead_to_salesforce() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  created sequin_record;
BEGIN
  created := sequin_create('demo', 'salesforce:lead', jsonb_build_object('LastName', NEW.name, 'Email', NEW.email));
  UPDATE leads SET salesforce_id = created.upstream_id WHERE name = NEW.name;
  RETURN NULL;
END $$;

CREATE TRIGGER lead_to_salesforce AFTER INSERT ON leads FOR EACH ROW EXECUTE FUNCTION lead_to_salesforce();

INSERT INTO leads VALUES ('Stilgar', 'stilgar@tabr.org'), ('Chani', 'chani@tabr.org');
SELECT * FROM leads;
