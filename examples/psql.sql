-- Creates, updates and deletes from psql.
-- Needs the extension and a server object named "sequin" (README.md). 'my-sync-id' is the id of your sync.

-- Create one record. The result has its upstream_id.
SELECT upstream_id AS paul
FROM sequin_create('my-sync-id', 'salesforce:contact', '{"FirstName": "Paul", "Email": "paul@arrakis.org"}') \gset

-- Update it. Other fields keep their values.
SELECT upstream_id, data
FROM sequin_update('my-sync-id', 'salesforce:contact', :'paul', '{"Title": "Duke"}');

-- Delete it.
SELECT upstream_id, deleted
FROM sequin_delete('my-sync-id', 'salesforce:contact', :'paul');

-- Many at once: all rows of a query in one request.
CREATE TEMPORARY TABLE people (email text PRIMARY KEY, first_name text, contact_id text);
INSERT INTO people VALUES ('chani@tabr.org', 'Chani'), ('duncan@caladan.org', 'Duncan'), ('gurney@caladan.org', 'Gurney');

-- The API promises no order, so a field matches the rows, not their position.
UPDATE people
SET contact_id = created.upstream_id
FROM sequin_mutate('create', 'my-sync-id', 'salesforce:contact',
       (SELECT jsonb_agg(jsonb_build_object('data', jsonb_build_object('FirstName', first_name, 'Email', email)))
        FROM people)) AS created
WHERE people.email = created.data->>'Email';

SELECT * FROM people ORDER BY email;

-- An empty array is an error. If the query may find no rows, HAVING prevents the call.
SELECT updated.upstream_id, updated.data->>'Title' AS title
FROM (SELECT jsonb_agg(jsonb_build_object('upstream_id', contact_id, 'data', '{"Title": "Warmaster"}'::jsonb)) AS records
      FROM people
      WHERE email LIKE '%@caladan.org'
      HAVING count(*) > 0) AS batch,
     sequin_mutate('update', 'my-sync-id', 'salesforce:contact', batch.records) AS updated;

-- A delete takes upstream ids.
SELECT upstream_id, deleted
FROM sequin_mutate('delete', 'my-sync-id', 'salesforce:contact', (SELECT jsonb_agg(contact_id) FROM people));
