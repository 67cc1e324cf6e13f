-- A table that is attached inline: each statement is sent before it ends.
CREATE TABLE people (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text,
  email text,
  note text,
  contact_id text
);
SELECT sequin_attach('people', 'regress', 'salesforce:contact', 'contact_id',
         fields => '{"name": "LastName", "email": "Email"}', delivery => 'inline');
SELECT relation, sync_id, collection_id, upstream_id_column, fields, delivery, operations, server FROM sequin.attachments;

INSERT INTO people (name, email) VALUES ('Jessica', 'jessica@caladan.org'), ('Gurney', 'gurney@caladan.org');
SELECT id, name, contact_id IS NOT NULL AS is_upstream FROM people ORDER BY id;

-- Only mapped fields are sent. The upstream id stays, whatever is written over it.
UPDATE people SET email = 'gurney@arrakis.org', note = 'plays the baliset', contact_id = NULL WHERE name = 'Gurney';
SELECT contact_id AS gurney FROM people WHERE name = 'Gurney' \gset
SELECT data FROM sequin_update('regress', 'salesforce:contact', :'gurney', '{}');
UPDATE people SET note = 'is not sent' WHERE name = 'Jessica';

-- If the API refuses, the rows are as before.
UPDATE people SET email = 'nobody';
INSERT INTO people (name, email) VALUES ('Feyd', 'nobody');
SELECT name, email FROM people ORDER BY id;

-- A row that comes with its upstream id is upstream already.
INSERT INTO people (name, contact_id) VALUES ('Known', :'gurney') ON CONFLICT DO NOTHING;
SET sequin.capture = off;
DELETE FROM people WHERE name = 'Known';
RESET sequin.capture;

DELETE FROM people WHERE name = 'Gurney';
\set VERBOSITY terse
SELECT * FROM sequin_update('regress', 'salesforce:contact', 'no such id', '{}');
UPDATE people SET id = DEFAULT;
TRUNCATE people;
SELECT sequin_attach('people', 'regress', 'salesforce:contact', 'contact_id');
SELECT sequin_attach('people', 'regress', 'salesforce:contact', 'id');
SELECT sequin_attach('people', 'regress', 'salesforce:contact', 'missing');
SELECT sequin_attach('pg_stats', 'regress', 'salesforce:contact', 'contact_id');
SELECT sequin_detach('people');
SELECT count(*) FROM sequin.attachments WHERE relation = 'people'::regclass;
SELECT sequin_detach('people');
DROP TABLE people;
