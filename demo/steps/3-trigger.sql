-- Call it from a trigger of your own
CREATE TABLE leads (name text, email text, salesforce_id text);

CREATE FUNCTION lead_to_salesforce() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  created sequin_record;
BEGIN
  created := sequin_create('demo', 'salesforce:lead', jsonb_build_object('LastName', NEW.name, 'Email', NEW.email));
  NEW.salesforce_id := created.upstream_id;
  RETURN NEW;
END $$;

CREATE TRIGGER lead_to_salesforce BEFORE INSERT ON leads FOR EACH ROW EXECUTE FUNCTION lead_to_salesforce();

INSERT INTO leads VALUES ('Stilgar', 'stilgar@tabr.org'), ('Chani', 'chani@tabr.org') RETURNING *;
