-- Update it, and read the update back from a table
-- The consumer "contacts" copies Salesforce's contacts into the table of that name. The call waits for it.
SELECT upstream_id AS paul FROM contacts WHERE data->>'FirstName' = 'Paul' \gset

SELECT upstream_id, updated_idx
FROM sequin_update('demo', 'salesforce:contact', :'paul', '{"Title": "Duke"}',
       await_consumers => '{contacts}', timeout_ms => 30000);

SELECT upstream_id, data->>'FirstName' AS first_name, data->>'Title' AS title FROM contacts;
