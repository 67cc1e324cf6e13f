-- Catches every outcome of a create by its condition name, and takes the right action for each.
-- Needs a server object named "sequin" (README.md). 'my-sync-id' is the id of your sync.
--
-- The table is a list of contacts to create. After an error, a cancel or a crash of this server, the state of each row is
-- still true, and no contact is created twice.

CREATE TABLE new_contacts (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  data jsonb NOT NULL,
  state text NOT NULL DEFAULT 'waiting' CHECK (state IN (
    'waiting',   -- not created; the next run sends it
    'sending',   -- being sent; or, if no run is active, a run ended here: a person must check
    'created',   -- it exists, and contact_id is its id
    'rejected',  -- not created; a person must correct it and set it to 'waiting'
    'look'       -- it exists, or may exist: a person must check before it is sent again
  )),
  not_before timestamptz NOT NULL DEFAULT '-infinity',
  contact_id text,
  note text
);

CREATE PROCEDURE create_contacts() LANGUAGE plpgsql AS $$
DECLARE
  contact new_contacts;
  created sequin_record;
  detail text;
BEGIN
  LOOP
    UPDATE new_contacts SET state = 'sending'
    WHERE id = (SELECT id FROM new_contacts
                WHERE state = 'waiting' AND not_before <= clock_timestamp()
                ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING * INTO contact;
    EXIT WHEN NOT FOUND;
    -- Before the call: after this commit a crash cannot lose the state, and the call holds no lock.
    COMMIT;

    BEGIN
      created := sequin_create('my-sync-id', 'salesforce:contact', contact.data);
      contact.state := 'created';
      contact.contact_id := created.upstream_id;
      contact.note := NULL;
    EXCEPTION
      -- Nothing was sent: the API could not be reached. Try again later.
      WHEN fdw_unable_to_establish_connection THEN
        contact.state := 'waiting';
        contact.not_before := clock_timestamp() + interval '1 minute';
        contact.note := SQLERRM;

      -- Nothing was applied: too many requests. The DETAIL has the time to wait, if the API gave one.
      WHEN configuration_limit_exceeded THEN
        GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
        contact.state := 'waiting';
        contact.not_before := clock_timestamp()
          + coalesce((detail::jsonb->>'retry_after_ms')::float8, 60000) * interval '1 millisecond';
        contact.note := SQLERRM;

      -- Nothing was applied: the provider refuses this record, or data is not a JSON object.
      WHEN fdw_invalid_attribute_value OR invalid_parameter_value OR null_value_not_allowed THEN
        contact.state := 'rejected';
        contact.note := SQLERRM;

      -- The contact may or may not exist. An update or a delete could be repeated; a create must not be.
      WHEN fdw_reply_handle THEN
        contact.state := 'look';
        contact.note := SQLERRM;

      -- The contact exists, but the reply with its id was lost.
      WHEN fdw_unable_to_create_reply THEN
        contact.state := 'look';
        contact.note := SQLERRM;

      -- Nothing was applied. An administrator must correct the server object, the user mapping or the privileges. The row
      -- keeps its place.
      WHEN invalid_authorization_specification OR fdw_table_not_found OR undefined_object OR insufficient_privilege
        OR fdw_unable_to_create_execution OR read_only_sql_transaction THEN
        contact.state := 'waiting';
        contact.note := SQLERRM;

      -- Not caught: query_canceled and the end of the session. They leave 'sending', which is true.
    END;

    UPDATE new_contacts
    SET (state, not_before, contact_id, note)
      = (contact.state, contact.not_before, contact.contact_id, contact.note)
    WHERE id = contact.id;
    COMMIT;

    IF contact.state = 'waiting' THEN
      RAISE WARNING 'stopped, since the next contact would end the same way: %', contact.note;
      EXIT;
    END IF;
  END LOOP;
END $$;

INSERT INTO new_contacts (data) VALUES
  ('{"FirstName": "Paul", "Email": "paul@arrakis.org"}'),
  ('{"FirstName": "Feyd", "Email": "nobody"}');

-- Do not CALL it within a transaction block: the procedure commits.
CALL create_contacts();

SELECT id, state, note FROM new_contacts ORDER BY id;
