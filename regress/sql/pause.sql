-- sequin_pause stops the delivery for a server, sequin_resume starts it again.
SELECT sequin_pause('sequin');
SELECT sequin_enqueue('create', 'regress', 'salesforce:contact', '{"data": {"LastName": "Waits"}}') AS waits \gset
SELECT server, backlog, paused, last_error LIKE 'paused by %' AS by_a_person FROM sequin.status WHERE server = 'sequin';
SELECT state, attempts FROM sequin.outbox WHERE id = :waits;
SELECT sequin_resume('sequin');
SELECT sequin_await_delivery(ARRAY[:waits], 60000);
SELECT backlog, paused, last_error FROM sequin.status WHERE server = 'sequin';

-- A refused token pauses the server by itself, and the right one ends that pause.
SELECT sequin_enqueue('create', 'regress', 'salesforce:contact', '{"data": {"LastName": "Locked"}}', server => 'locked') AS locked \gset
DO $$
BEGIN
  WHILE NOT (SELECT paused FROM sequin.status WHERE server = 'locked') LOOP
    COMMIT;
    PERFORM pg_sleep(0.01);
  END LOOP;
END $$;
SELECT state, attempts FROM sequin.outbox WHERE id = :locked;
SELECT last_error FROM sequin.status WHERE server = 'locked';
ALTER USER MAPPING FOR PUBLIC SERVER locked OPTIONS (SET token 'sandbox-token');
SELECT sequin_await_delivery(ARRAY[:locked], 60000);
