-- Open work and attached tables follow a server that is renamed.
SELECT current_setting('regress.sandbox_url') AS url \gset
CREATE SERVER before FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url :'url');
CREATE USER MAPPING FOR PUBLIC SERVER before OPTIONS (token 'sandbox-token');
CREATE TABLE renamed (id integer PRIMARY KEY, name text, contact_id text);
SELECT sequin_attach('renamed', 'regress', 'salesforce:contact', 'contact_id', server => 'before');
SELECT sequin_pause('before');
SELECT sequin_enqueue('create', 'regress', 'salesforce:contact', '{"data": {"LastName": "Follows"}}', server => 'before') AS follows \gset
ALTER SERVER before RENAME TO after;
SELECT server, state FROM sequin.outbox WHERE id = :follows;
SELECT relation, server FROM sequin.attachments WHERE relation = 'renamed'::regclass;
SELECT sequin_resume('after');
SELECT sequin_await_delivery(ARRAY[:follows], 60000);
SELECT server, outcome FROM sequin.delivered WHERE id = :follows;
DROP TABLE renamed;
