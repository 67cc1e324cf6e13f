-- sequin_create, sequin_update and sequin_delete: one record, one request.
SELECT upstream_id AS paul, sync_id, collection_id, deleted, data
FROM sequin_create('regress', 'salesforce:contact', '{"FirstName": "Paul", "Email": "paul@arrakis.org"}') \gset
\echo :sync_id :collection_id :deleted :data

-- An update changes the fields that it names, and no others.
SELECT upstream_id = :'paul' AS is_paul, data
FROM sequin_update('regress', 'salesforce:contact', :'paul', '{"Title": "Duke"}');

SELECT upstream_id = :'paul' AS is_paul, deleted
FROM sequin_delete('regress', 'salesforce:contact', :'paul');

-- Numbers keep their digits.
SELECT data FROM sequin_create('regress', 'stripe:price', '{"amount": 12345678901234567890.120}');

-- In an expression, and once for each row.
SELECT name, (sequin_create('regress', 'salesforce:lead', jsonb_build_object('LastName', name))).data
FROM (VALUES ('Chani'), ('Stilgar')) AS leads (name);

-- In PL/pgSQL, with a variable of the type.
DO $$
DECLARE
  created sequin_record;
BEGIN
  created := sequin_create('regress', 'salesforce:contact', '{"FirstName": "Gurney"}');
  RAISE NOTICE '%', created.data;
END $$;

-- The star would be a call for each column.
SELECT (sequin_create('regress', 'salesforce:contact', '{}')).*;
