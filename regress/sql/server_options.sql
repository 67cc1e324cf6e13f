-- The options of servers and user mappings are checked when they are set.
CREATE SERVER wrong FOREIGN DATA WRAPPER sequin_mutations;
CREATE SERVER wrong FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'https://api.example.com', timeout '1');
\set VERBOSITY terse
CREATE SERVER wrong FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'ftp://api.example.com');
CREATE SERVER wrong FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'http://api.example.com');
CREATE SERVER wrong FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'https://user:secret@api.example.com');
CREATE SERVER wrong FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'https://api.example.com', connect_timeout_ms '0');
CREATE SERVER wrong FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'https://api.example.com', max_batch 'many');

CREATE SERVER crm FOREIGN DATA WRAPPER sequin_mutations
  OPTIONS (url 'https://api.example.com', connect_timeout_ms '1000', request_timeout_ms '2000', max_response_bytes '1000000',
           atomic_batches 'true', ordered_replies 'on', max_batch '100', idempotency_header 'Idempotency-Key');
CREATE USER MAPPING FOR PUBLIC SERVER crm;
CREATE USER MAPPING FOR PUBLIC SERVER crm OPTIONS (password 'secret');
CREATE USER MAPPING FOR PUBLIC SERVER crm OPTIONS (token '');
CREATE USER MAPPING FOR PUBLIC SERVER crm OPTIONS (token 'one', token_file 'two');
CREATE USER MAPPING FOR PUBLIC SERVER crm OPTIONS (token 'secret');
ALTER USER MAPPING FOR PUBLIC SERVER crm OPTIONS (DROP token);
ALTER SERVER crm OPTIONS (DROP url);
ALTER SERVER crm OPTIONS (SET max_batch '200', DROP idempotency_header);

-- There is nothing to read from it.
CREATE FOREIGN TABLE contacts (name text) SERVER crm;
SELECT * FROM contacts;
DROP SERVER crm CASCADE;
