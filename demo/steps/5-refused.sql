-- Salesforce refuses a record (the two errors are meant to be)
-- errors are expected
SELECT upstream_id FROM sequin_create('demo', 'salesforce:contact', '{"LastName": "Harkonnen", "Email": "nobody"}');

-- Within a trigger the refusal fails the statement: there is no row that Salesforce does not have.
INSERT INTO leads VALUES ('Feyd-Rautha', 'nobody');

SELECT * FROM leads;
