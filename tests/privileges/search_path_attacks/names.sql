-- Shadows of relations and types in the schema @, which may be pg_temp. See plant.sql; shadowed.relations are the names of ours; here the catalogs
-- are named in full, because pg_temp comes before all that is not named.

SELECT count(app.make(format(
    'CREATE VIEW @.%I AS SELECT * FROM pg_catalog.%1$I WHERE (SELECT app.noted(%L))', relname, 'relation ' || relname)))
FROM pg_catalog.pg_class
WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v');

SELECT count(app.make(format(
    'CREATE VIEW @.%I AS SELECT 1 AS id WHERE (SELECT app.noted(%L))', name, 'relation ' || name)))
FROM unnest(string_to_array(current_setting('shadowed.relations'), ' ')) AS name;

-- Those that look at what is made into them.
SELECT count(app.make(format(
    'CREATE DOMAIN @.%I AS pg_catalog.%1$I CHECK (app.noted(%L))', typname, 'type ' || typname)))
FROM pg_catalog.pg_type
WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r') AND typcategory <> 'A';
