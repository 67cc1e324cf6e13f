-- Edits an address book with plain SQL. Each statement changes Salesforce at once.
-- Needs a server object named "sequin" (README.md). 'my-sync-id' is the id of your sync.
--
-- If Salesforce refuses a row, the statement fails and the table stays as it was. But ROLLBACK does not undo a change at
-- Salesforce.

CREATE TABLE people (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  email text,
  note text,                     -- not in fields below, so it is not sent
  contact_id text                -- the id at Salesforce; the extension writes it
);

SELECT sequin_attach('people', 'my-sync-id', 'salesforce:contact', 'contact_id',
       fields => '{"name": "LastName", "email": "Email"}', delivery => 'inline');

-- One statement is one request, if the server has the option ordered_replies. Afterwards the new ids are in the rows.
INSERT INTO people (name, email) VALUES
  ('Paul', 'paul@arrakis.org'),
  ('Chani', 'chani@tabr.org'),
  ('Duncan', 'duncan@caladan.org');
SELECT name, email, contact_id FROM people ORDER BY id;

-- Only changed fields are sent.
UPDATE people SET name = 'Muad''Dib' WHERE name = 'Paul';
UPDATE people SET email = NULL WHERE name = 'Chani';
UPDATE people SET note = 'met at Sietch Tabr', name = name;                     -- sends nothing

DELETE FROM people WHERE name = 'Duncan';

-- A contact that exists at Salesforce already: the id ties the row to it, and nothing is created.
SELECT upstream_id AS gurney
FROM sequin_create('my-sync-id', 'salesforce:contact', '{"LastName": "Gurney"}') \gset
INSERT INTO people (name, contact_id) VALUES ('Gurney', :'gurney');
UPDATE people SET email = 'gurney@caladan.org' WHERE name = 'Gurney';

SELECT name, email, contact_id FROM people ORDER BY id;

-- If a sync writes into this table, its changes must not return to Salesforce. Give the sync a role, and run:
--   ALTER ROLE sync SET sequin.capture = off;
SELECT relation, collection_id, operations, fields FROM sequin.attachments;
