-- Create a contact in Salesforce
-- The call returns the record as Salesforce has it now, with its new id.
SELECT upstream_id, updated_idx, data
FROM sequin_create('demo', 'salesforce:contact',
       '{"FirstName": "Paul", "LastName": "Atreides", "Email": "paul@arrakis.org"}',
       await_consumers => '{contacts}');
