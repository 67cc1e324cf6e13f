-- Counters of the requests to each server.
SELECT sequin_stat_reset();
SELECT count(*) FROM sequin_mutate('create', 'regress', 'salesforce:contact',
  '[{"data": {"LastName": "One"}}, {"data": {"LastName": "Two"}}]');
\set VERBOSITY sqlstate
SELECT sequin_update('regress', 'salesforce:contact', 'nobody', '{"LastName": "Three"}');
\set VERBOSITY default
SELECT sequin_enqueue('create', 'regress', 'salesforce:contact', '{"data": {"LastName": "Four"}}') AS four \gset
SELECT sequin_await_delivery(ARRAY[:four], 60000);
SELECT server, database = current_database() AS here, call_requests, call_records, call_applied, call_rejected, call_cancels,
  outbox_requests, outbox_records, outbox_applied
FROM sequin.stat_servers WHERE server = 'sequin';
SELECT call_bytes_sent > 0 AS sent, call_bytes_received > 0 AS received, call_max_wait_time <= call_wait_time AS waited,
  (SELECT sum(n) FROM unnest(call_wait_histogram) AS n) = call_requests AS is_whole, stats_reset < clock_timestamp() AS since
FROM sequin.stat_servers WHERE server = 'sequin';
SELECT sequin_stat_reset();
SELECT call_requests, outbox_requests, call_max_wait_time FROM sequin.stat_servers WHERE server = 'sequin';
