-- Delete the contact
SELECT upstream_id, deleted
FROM sequin_delete('demo', 'salesforce:contact', (SELECT upstream_id FROM contacts),
       await_consumers => '{contacts}');

SELECT upstream_id, deleted FROM contacts;
