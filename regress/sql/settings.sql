-- sequin.server names the server of calls that name none.
LOAD 'sequin_mutations';
SHOW sequin.server;
SET sequin.server = 'elsewhere';
\set VERBOSITY terse
SELECT * FROM sequin_create('regress', 'salesforce:contact', '{}');
RESET sequin.server;
SELECT data FROM sequin_create('regress', 'salesforce:contact', '{}');

SHOW sequin.capture;
SHOW sequin.worker_idle_timeout;
SET sequin.worker_idle_timeout = 0;
SET sequin.secrets_directory = '/tmp';
SET sequin.misspelt = on;
