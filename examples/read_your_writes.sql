-- Writes a record, then reads it from a consumer's table.
-- Needs a server object named "sequin" (README.md), and a consumer "contacts" of your sync that copies the collection
-- salesforce:contact into the table "contacts". A call that awaits the consumer returns when the row is in the table.

SELECT upstream_id AS paul
FROM sequin_create('my-sync-id', 'salesforce:contact', '{"FirstName": "Paul", "Email": "paul@arrakis.org"}',
       await_consumers => '{contacts}', timeout_ms => 5000) \gset

-- Use a separate statement: a statement does not see rows that were committed after its start. For the same reason the
-- transaction must be READ COMMITTED, the default. In REPEATABLE READ it would not see the row.
SELECT data->>'FirstName' AS first_name, data->>'Email' AS email, deleted
FROM contacts
WHERE upstream_id = :'paul';

-- The same in PL/pgSQL, where each statement sees the rows that were committed before it.
-- Lock no row of "contacts" before the call: the consumer would wait for this transaction, and the call for the consumer.
CREATE PROCEDURE set_title(contact_id text, new_title text) LANGUAGE plpgsql AS $$
DECLARE
  title text;
BEGIN
  BEGIN
    PERFORM sequin_update('my-sync-id', 'salesforce:contact', contact_id, jsonb_build_object('Title', new_title),
      await_consumers => '{contacts}', timeout_ms => 5000);
  EXCEPTION
    WHEN fdw_unable_to_create_reply THEN
      -- The update was applied; only the reply or the consumer's confirmation is missing. Do not repeat it.
      RAISE WARNING 'updated, but not confirmed: %', SQLERRM;
      RETURN;
  END;
  SELECT data->>'Title' INTO STRICT title FROM contacts WHERE upstream_id = contact_id;
  RAISE NOTICE 'the table says %', title;
END $$;

CALL set_title(:'paul', 'Duke');
