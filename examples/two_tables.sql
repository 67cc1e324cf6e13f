-- Moves money between two attached tables of different collections, and corrects a change that cannot be rolled back.
-- Needs a server object named "sequin" (README.md). 'my-sync-id' is the id of your sync.
--
-- Two statements are two requests. If the API refuses the second, Postgres rolls back both rows, but upstream the first
-- request stays applied. The procedure catches the error and sends the old balance again. It cannot catch a cancel or a
-- crash between the first request and COMMIT. Then the sender's new balance stays upstream: compare the balances
-- regularly.

CREATE TABLE stripe_accounts (
  owner text PRIMARY KEY, balance numeric NOT NULL CHECK (balance >= 0), customer_id text
);
CREATE TABLE salesforce_accounts (
  owner text PRIMARY KEY, balance numeric NOT NULL CHECK (balance >= 0), account_id text
);

SELECT sequin_attach('stripe_accounts', 'my-sync-id', 'stripe:customer', 'customer_id',
       fields => '{"owner": "name", "balance": "balance"}', delivery => 'inline');
SELECT sequin_attach('salesforce_accounts', 'my-sync-id', 'salesforce:account', 'account_id',
       fields => '{"owner": "Name", "balance": "Balance__c"}', delivery => 'inline');

INSERT INTO stripe_accounts (owner, balance) VALUES ('Paul', 100);
INSERT INTO salesforce_accounts (owner, balance) VALUES ('Chani', 10);

CREATE PROCEDURE move(amount numeric, sender text, recipient text) LANGUAGE plpgsql AS $$
DECLARE
  sender_id text;
  old_balance numeric;
  withdrawn boolean := false;
  detail text;
BEGIN
  SELECT customer_id, balance INTO STRICT sender_id, old_balance
  FROM stripe_accounts WHERE owner = sender FOR UPDATE;

  BEGIN
    UPDATE stripe_accounts SET balance = balance - amount WHERE owner = sender;
    withdrawn := true;
    UPDATE salesforce_accounts SET balance = balance + amount WHERE owner = recipient;
    IF NOT FOUND THEN
      RAISE no_data_found USING MESSAGE = format('there is no account of %s', recipient);
    END IF;
  EXCEPTION
    WHEN fdw_reply_handle OR fdw_unable_to_create_reply THEN
      -- One of the two was applied, or may have been. A person must check both upstream.
      GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
      RAISE WARNING 'not moved here; look at both accounts upstream: % (applied: %)', SQLERRM, detail::jsonb->>'applied';
    -- These errors say that nothing of the failed statement was applied.
    WHEN fdw_invalid_attribute_value OR fdw_table_not_found OR fdw_unable_to_establish_connection
      OR fdw_unable_to_create_execution OR invalid_authorization_specification OR configuration_limit_exceeded
      OR no_data_found OR check_violation THEN
      IF NOT withdrawn THEN
        RAISE;  -- the first statement failed: nothing was applied
      END IF;
      -- The second statement failed: both rows are as before, but the sender's balance upstream is not. The verb corrects
      -- it, because the table has the old balance and an UPDATE would send nothing. If the verb fails, so does the
      -- procedure.
      PERFORM sequin_update('my-sync-id', 'stripe:customer', sender_id, jsonb_build_object('balance', old_balance));
      RAISE WARNING 'not moved, and put right upstream: %', SQLERRM;
  END;
END $$;

CALL move(30, 'Paul', 'Chani');
CALL move(5, 'Paul', 'Nobody');

SELECT owner, balance FROM stripe_accounts UNION ALL SELECT owner, balance FROM salesforce_accounts;
