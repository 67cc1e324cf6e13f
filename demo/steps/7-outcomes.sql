-- A procedure that knows what happened, by condition
CREATE PROCEDURE save_contact(email text, server name DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
  saved sequin_record;
  detail text;
BEGIN
  saved := sequin_create('demo', 'salesforce:contact', jsonb_build_object('Email', email), server => server);
  RAISE NOTICE 'saved as %', saved.upstream_id;
EXCEPTION
  WHEN fdw_invalid_attribute_value THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RAISE NOTICE 'refused: %. Applied: %', SQLERRM, detail::jsonb->>'applied';
  WHEN fdw_unable_to_establish_connection THEN
    RAISE NOTICE 'not sent, safe to repeat: %', SQLERRM;
  WHEN fdw_reply_handle THEN
    RAISE NOTICE 'may have been applied, do not repeat: %', SQLERRM;
END $$;

CALL save_contact('duncan@caladan.org');
CALL save_contact('nobody');
-- At this domain the gateway plays a provider that timed out.
CALL save_contact('slow@timeout.example');

-- A server on which nothing listens.
CREATE SERVER nowhere FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'http://127.0.0.1:9');
CREATE USER MAPPING FOR PUBLIC SERVER nowhere OPTIONS (token 'any');
CALL save_contact('gurney@caladan.org', server => 'nowhere');
