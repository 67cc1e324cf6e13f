-- A stored procedure that writes to an attached table, and then reads the provider's record from a consumer's table.
-- Needs a server object named "sequin" (README.md), and a consumer "contacts" of your sync that copies the collection
-- salesforce:contact into the table "contacts".
--
-- You write to "members", and the consumer writes to "contacts". They must be two tables. A statement that waits for the
-- consumer keeps its rows locked. If the consumer had to write to these rows, both would wait until timeout_ms is over.

CREATE TABLE members (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  email text NOT NULL UNIQUE,
  contact_id text
);

SELECT sequin_attach('members', 'my-sync-id', 'salesforce:contact', 'contact_id',
       fields => '{"name": "LastName", "email": "Email"}', delivery => 'inline',
       await_consumers => '{contacts}', timeout_ms => 5000);

-- If the wait times out, the INSERT fails with HV00M and its row is gone, but the contact was created.
-- The transaction must be READ COMMITTED, the default, so that the SELECT sees the consumer's commit.
CREATE PROCEDURE join_up(name text, email text, INOUT contact jsonb DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
  member_id bigint;
BEGIN
  -- RETURNING contact_id would be NULL: the id is written after the statement has returned its rows.
  INSERT INTO members (name, email) VALUES (join_up.name, join_up.email) RETURNING id INTO member_id;

  SELECT c.data INTO STRICT contact
  FROM members AS m JOIN contacts AS c ON c.upstream_id = m.contact_id
  WHERE m.id = member_id;
END $$;

CALL join_up('Paul', 'paul@arrakis.org');

UPDATE members SET email = 'muaddib@arrakis.org' WHERE name = 'Paul';
SELECT m.name, c.data->>'Email' AS email_of_the_contact
FROM members AS m JOIN contacts AS c ON c.upstream_id = m.contact_id;
