-- sequin_mutate: many records, one request.
CREATE TEMPORARY TABLE made AS
SELECT upstream_id, data
FROM sequin_mutate('create', 'regress', 'salesforce:contact',
       '[{"data": {"LastName": "Atreides"}}, {"data": {"LastName": "Halleck"}}]');
SELECT data FROM made ORDER BY data->>'LastName';

SELECT data
FROM (SELECT jsonb_agg(jsonb_build_object('upstream_id', upstream_id, 'data', '{"Title": "Duke"}'::jsonb)) AS records
      FROM made) AS batch,
     sequin_mutate('update', 'regress', 'salesforce:contact', batch.records)
ORDER BY data->>'LastName';

SELECT deleted
FROM (SELECT jsonb_agg(upstream_id) AS records FROM made) AS batch,
     sequin_mutate('delete', 'regress', 'salesforce:contact', batch.records);

-- One element needs no array.
SELECT data FROM sequin_mutate('create', 'regress', 'salesforce:contact', '{"data": {"LastName": "Idaho"}}');

-- No records, no call.
SELECT data
FROM (SELECT jsonb_agg(data) AS records FROM made WHERE false HAVING count(*) > 0) AS batch,
     sequin_mutate('create', 'regress', 'salesforce:contact', batch.records);

-- The arguments are checked before anything is sent.
\set VERBOSITY terse
SELECT * FROM sequin_mutate('upsert', 'regress', 'salesforce:contact', '[]');
SELECT * FROM sequin_mutate('create', 'regress', 'salesforce:contact', '[]');
SELECT * FROM sequin_mutate('create', 'regress', 'salesforce:contact', '[{"data": {}}, {"data": 1}]');
SELECT * FROM sequin_mutate('create', 'regress', 'salesforce:contact', '[{"data": {}, "id": 1}]');
SELECT * FROM sequin_mutate('update', 'regress', 'salesforce:contact', '[{"data": {}}]');
SELECT * FROM sequin_mutate('delete', 'regress', 'salesforce:contact', '[""]');
SELECT * FROM sequin_mutate('create', NULL, 'salesforce:contact', '[{"data": {}}]');
