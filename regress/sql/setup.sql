-- The objects that the other tests use. scripts/installcheck passes the sandbox's address.
CREATE EXTENSION sequin_mutations;
SELECT current_setting('regress.sandbox_url') AS url \gset
CREATE SERVER sequin FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url :'url');
CREATE USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (token 'sandbox-token');
