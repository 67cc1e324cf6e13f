-- sequin_enqueue: what is committed is sent, and nothing else.
BEGIN;
SELECT sequin_enqueue('create', 'regress', 'salesforce:contact', '{"data": {"LastName": "Irulan"}}') AS irulan \gset
SELECT kind, data, state FROM sequin.outbox WHERE id = :irulan;
-- A transaction cannot wait for its own records.
SELECT sequin_await_delivery(ARRAY[:irulan]);
ROLLBACK;
SELECT count(*) FROM sequin.outbox;

BEGIN;
SELECT sequin_enqueue('create', 'regress', 'salesforce:contact', '{"data": {"LastName": "Irulan"}}') AS irulan \gset
SAVEPOINT before;
SELECT sequin_enqueue('create', 'regress', 'salesforce:contact', '{"data": {"LastName": "Feyd"}}') AS feyd \gset
ROLLBACK TO before;
COMMIT;
SELECT sequin_await_delivery(ARRAY[:irulan, :feyd], 60000);
SELECT kind, data, outcome, upstream_id IS NOT NULL AS has_id FROM sequin.delivered WHERE id IN (:irulan, :feyd);

-- Changes of one record that wait are merged, and sent in order.
SELECT upstream_id AS contact FROM sequin.delivered WHERE id = :irulan \gset
SELECT sequin_pause('sequin');
SELECT sequin_enqueue('update', 'regress', 'salesforce:contact',
         jsonb_build_object('upstream_id', :'contact', 'data', '{"Title": "Princess", "Email": "i@arrakis.org"}'::jsonb)) AS first \gset
SELECT sequin_enqueue('update', 'regress', 'salesforce:contact',
         jsonb_build_object('upstream_id', :'contact', 'data', '{"Title": "Historian"}'::jsonb)) AS second \gset
SELECT data, state FROM sequin.outbox WHERE id IN (:first, :second) ORDER BY id;
SELECT sequin_resume('sequin');
SELECT sequin_await_delivery(ARRAY[:first, :second], 60000);
SELECT data, outcome, record->'data' AS record, merged_ids = ARRAY[:first]::bigint[] AS has_merged_first
FROM sequin.delivered WHERE id IN (:first, :second) ORDER BY id;
SELECT sequin_sent_with(:first) = :second AS first, sequin_sent_with(:second) = :second AS second, sequin_sent_with(0) AS none;

-- One call, one id for each record.
SELECT array_agg(id) AS ids
FROM sequin_enqueue('create', 'regress', 'salesforce:contact', '[{"data": {"n": 1}}, {"data": {"n": 2}}]') AS id \gset
SELECT sequin_await_delivery(:'ids', 60000);
SELECT data, outcome FROM sequin.delivered WHERE id = ANY (:'ids') ORDER BY id;

\set VERBOSITY terse
SELECT sequin_enqueue('create', 'regress', 'salesforce:contact', '[]');
SELECT sequin_enqueue('create', 'regress', 'salesforce:contact', '{"data": {}}', ordering_key => ' ');
SELECT sequin_enqueue('create', 'regress', 'salesforce:contact', '{"data": {}}', server => 'nowhere');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT sequin_await_delivery(ARRAY[:first]);
ROLLBACK;
