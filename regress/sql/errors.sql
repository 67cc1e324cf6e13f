-- Each error says whether anything was applied: SQLSTATE, the API's text, DETAIL for programs, HINT, CONTEXT.

-- The API rejects the record.
SELECT * FROM sequin_create('regress', 'salesforce:contact', '{"Email": "nobody"}');

-- The API refuses the token.
SELECT current_setting('regress.sandbox_url') AS url \gset
CREATE SERVER locked FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url :'url');
CREATE USER MAPPING FOR PUBLIC SERVER locked OPTIONS (token 'wrong');
SELECT * FROM sequin_create('regress', 'salesforce:contact', '{}', server => 'locked');

-- A wrong argument.
SELECT * FROM sequin_create('regress', 'salesforce:contact', '[]');

-- No such server.
SELECT * FROM sequin_create('regress', 'salesforce:contact', '{}', server => 'nowhere');

-- A read-only transaction.
BEGIN READ ONLY;
SELECT * FROM sequin_create('regress', 'salesforce:contact', '{}');
ROLLBACK;

-- The reply is larger than what may be read: the record was made all the same.
CREATE SERVER terse FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url :'url', max_response_bytes '1');
CREATE USER MAPPING FOR PUBLIC SERVER terse OPTIONS (token 'sandbox-token');
SELECT * FROM sequin_create('regress', 'salesforce:contact', '{}', server => 'terse');

-- A program catches them by condition.
DO $$
DECLARE
  detail jsonb;
BEGIN
  PERFORM sequin_create('regress', 'salesforce:contact', '{"Email": "nobody"}');
EXCEPTION
  WHEN fdw_invalid_attribute_value THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RAISE NOTICE '% applied: %', SQLERRM, detail->>'applied';
END $$;

-- What the same statement had applied before it failed.
SELECT upstream_id
FROM (VALUES ('a@arrakis.org'), ('b@arrakis.org'), ('nobody')) AS people (email),
     sequin_create('regress', 'salesforce:contact', jsonb_build_object('Email', email));

-- ROLLBACK does not undo a mutation.
BEGIN;
SELECT upstream_id AS kept FROM sequin_create('regress', 'salesforce:contact', '{"LastName": "Kept"}') \gset
ROLLBACK;
SELECT data FROM sequin_update('regress', 'salesforce:contact', :'kept', '{}');
