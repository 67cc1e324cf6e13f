-- Attach a table
-- From here on each statement on it is one request, and new rows get their ids. They are HubSpot's this time.
CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, email text, note text, hubspot_id text);

SELECT sequin_attach('people', 'demo', 'hubspot:contact', 'hubspot_id',
       fields => '{"name": "lastname", "email": "email"}', delivery => 'inline');

INSERT INTO people (name, email) VALUES ('Jessica', 'jessica@caladan.org'), ('Gurney', 'gurney@caladan.org');
SELECT name, email, hubspot_id FROM people ORDER BY id;

-- Sent: the e-mail address of one. A note is not mapped, and stays here.
UPDATE people SET email = 'gurney@arrakis.org', note = 'plays the baliset' WHERE name = 'Gurney';
DELETE FROM people WHERE name = 'Jessica';
SELECT name, email, hubspot_id FROM people;
