-- Write, then read the write back from a table.
-- Needs a server object named "sequin" (README.md), and a consumer "contacts" of your sync that copies the collection
-- salesforce:contact into the table "contacts". A call that names the consumer returns when the row is in the table.

SELECT upstream_id AS paul
FROM sequin_create('my-sync-id', 'salesforce:contact', '{"FirstName": "Paul", "Email": "paul@arrakis.org"}',
       await_consumers => '{contacts}', timeout_ms => 5000) \gset

-- In a statement of its own: a statement does not see rows that others committed after it began. For the same reason
-- the transaction must be READ COMMITTED, the default; in REPEATABLE READ it would see the table as it was.
SELECT data->>'FirstName' AS first_name, data->>'Email' AS email, deleted
FROM contacts
WHERE upstream_id = :'paul';

-- The same in PL/pgSQL, where each statement sees what was committed before it.
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
      -- The update was made; only the reply, or the consumer's confirmation, did not come. There is nothing to repeat.
      RAISE WARNING 'updated, but not confirmed: %', SQLERRM;
      RETURN;
  END;
  SELECT data->>'Title' INTO STRICT title FROM contacts WHERE upstream_id = contact_id;
  RAISE NOTICE 'the table says %', title;
END $$;

CALL set_title(:'paul', 'Duke');
