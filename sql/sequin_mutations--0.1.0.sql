-- The objects of sequin_mutations 0.1.0. Once released, this file does not change; what changes is an upgrade step.
\echo Use "CREATE EXTENSION sequin_mutations" to load this file. \quit

-- Not IF NOT EXISTS: a schema that somebody else has made could hold objects that shadow ours.
CREATE SCHEMA sequin;
COMMENT ON SCHEMA sequin IS 'sequin_mutations: relations and inner functions; the verbs are the functions sequin_*';

-- The foreign-data wrapper: servers say where the API is, user mappings hold the tokens.

CREATE FUNCTION sequin.validate_options(options pg_catalog.text[], catalog pg_catalog.oid) RETURNS pg_catalog.void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'validate_options_wrapper';
COMMENT ON FUNCTION sequin.validate_options(pg_catalog.text[], pg_catalog.oid) IS
    'checks the options of servers and user mappings when they are created or altered';

CREATE FOREIGN DATA WRAPPER sequin_mutations
    NO HANDLER
    VALIDATOR sequin.validate_options;
COMMENT ON FOREIGN DATA WRAPPER sequin_mutations IS
    'Mutation APIs: CREATE SERVER ... OPTIONS (url), CREATE USER MAPPING ... OPTIONS (token or token_file)';

-- A record as the API replies with it.

CREATE TYPE @extschema@.sequin_record AS (
    id pg_catalog.text,
    sync_id pg_catalog.text,
    collection_id pg_catalog.text,
    upstream_id pg_catalog.text,
    upstream_created_at timestamp with time zone,
    upstream_updated_at timestamp with time zone,
    inserted_at timestamp with time zone,
    updated_idx pg_catalog.int8,
    deleted pg_catalog.bool,
    data pg_catalog.jsonb,
    extra pg_catalog.jsonb
);
COMMENT ON TYPE @extschema@.sequin_record IS 'a record as the Mutation API replies with it';
COMMENT ON COLUMN @extschema@.sequin_record.id IS 'the API''s own id of the record';
COMMENT ON COLUMN @extschema@.sequin_record.sync_id IS 'the sync that the record belongs to';
COMMENT ON COLUMN @extschema@.sequin_record.collection_id IS 'provider:collection, as in salesforce:contact';
COMMENT ON COLUMN @extschema@.sequin_record.upstream_id IS 'the record''s id at the provider';
COMMENT ON COLUMN @extschema@.sequin_record.upstream_created_at IS 'when the provider created it';
COMMENT ON COLUMN @extschema@.sequin_record.upstream_updated_at IS 'when the provider last changed it';
COMMENT ON COLUMN @extschema@.sequin_record.inserted_at IS 'when the API first saw it';
COMMENT ON COLUMN @extschema@.sequin_record.updated_idx IS 'the record''s version: it rises with every change';
COMMENT ON COLUMN @extschema@.sequin_record.deleted IS 'whether it was deleted at the provider';
COMMENT ON COLUMN @extschema@.sequin_record.data IS 'the provider''s fields';
COMMENT ON COLUMN @extschema@.sequin_record.extra IS
    'the reply''s other fields, and values that do not fit their column; NULL when there are none';

-- The verbs. Those for one record are plain functions, so that they can stand in any expression; plan_calls keeps
-- SELECT (f(...)).* from calling them once for each column, and joins from leaving out calls for equal rows.

CREATE FUNCTION sequin.plan_calls(request internal) RETURNS internal
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'plan_calls_wrapper';
COMMENT ON FUNCTION sequin.plan_calls(internal) IS
    'planner support of the verbs: refuses SELECT (f(...)).*, which would call a plain function once for each column, and turns enable_memoize off for the transaction when a verb is called for each row';

CREATE FUNCTION @extschema@.sequin_mutate(
    kind pg_catalog.text,
    sync_id pg_catalog.text,
    collection_id pg_catalog.text,
    records pg_catalog.jsonb,
    await_consumers pg_catalog.text[] DEFAULT NULL,
    timeout_ms pg_catalog.int4 DEFAULT NULL,
    server pg_catalog.name DEFAULT NULL
) RETURNS SETOF @extschema@.sequin_record
    LANGUAGE c VOLATILE PARALLEL UNSAFE SUPPORT sequin.plan_calls
    AS 'MODULE_PATHNAME', 'sequin_mutate_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_mutate(
    pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.jsonb, pg_catalog.text[], pg_catalog.int4,
    pg_catalog.name
) IS
    'sends one create, update or delete of many records to the API now, and returns them as it replies; ROLLBACK does not undo it';

CREATE FUNCTION @extschema@.sequin_create(
    sync_id pg_catalog.text,
    collection_id pg_catalog.text,
    data pg_catalog.jsonb,
    await_consumers pg_catalog.text[] DEFAULT NULL,
    timeout_ms pg_catalog.int4 DEFAULT NULL,
    server pg_catalog.name DEFAULT NULL
) RETURNS @extschema@.sequin_record
    LANGUAGE c VOLATILE PARALLEL UNSAFE SUPPORT sequin.plan_calls
    AS 'MODULE_PATHNAME', 'sequin_create_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_create(
    pg_catalog.text, pg_catalog.text, pg_catalog.jsonb, pg_catalog.text[], pg_catalog.int4, pg_catalog.name
) IS
    'creates one record at the provider now, and returns it; ROLLBACK does not undo it';

CREATE FUNCTION @extschema@.sequin_update(
    sync_id pg_catalog.text,
    collection_id pg_catalog.text,
    upstream_id pg_catalog.text,
    data pg_catalog.jsonb,
    await_consumers pg_catalog.text[] DEFAULT NULL,
    timeout_ms pg_catalog.int4 DEFAULT NULL,
    server pg_catalog.name DEFAULT NULL
) RETURNS @extschema@.sequin_record
    LANGUAGE c VOLATILE PARALLEL UNSAFE SUPPORT sequin.plan_calls
    AS 'MODULE_PATHNAME', 'sequin_update_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_update(
    pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.jsonb, pg_catalog.text[], pg_catalog.int4,
    pg_catalog.name
) IS
    'changes the given fields of one record at the provider now, and returns it; ROLLBACK does not undo it';

CREATE FUNCTION @extschema@.sequin_delete(
    sync_id pg_catalog.text,
    collection_id pg_catalog.text,
    upstream_id pg_catalog.text,
    await_consumers pg_catalog.text[] DEFAULT NULL,
    timeout_ms pg_catalog.int4 DEFAULT NULL,
    server pg_catalog.name DEFAULT NULL
) RETURNS @extschema@.sequin_record
    LANGUAGE c VOLATILE PARALLEL UNSAFE SUPPORT sequin.plan_calls
    AS 'MODULE_PATHNAME', 'sequin_delete_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_delete(
    pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text[], pg_catalog.int4, pg_catalog.name
) IS
    'deletes one record at the provider now, and returns it; ROLLBACK does not undo it';

-- Tables that write through. A trigger's argument is its attachment, so a dump of the table brings it back.

CREATE FUNCTION sequin.capture() RETURNS trigger
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'capture_wrapper';
COMMENT ON FUNCTION sequin.capture() IS
    'trigger of attached tables: sends what a statement changed; made by sequin_attach';

CREATE FUNCTION sequin.refuse_truncate() RETURNS trigger
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'refuse_truncate_wrapper';
COMMENT ON FUNCTION sequin.refuse_truncate() IS
    'trigger of attached tables: refuses TRUNCATE, which does not tell which rows there were';

CREATE VIEW sequin.attachments AS
    SELECT
        attached.relation,
        argument.sync_id,
        argument.collection_id,
        argument.upstream_id_column,
        argument.fields,
        argument.delivery,
        attached.operations,
        argument.await_consumers,
        argument.timeout_ms,
        argument.server
    FROM (
        SELECT
            t.tgrelid::pg_catalog.regclass AS relation,
            -- Each argument ends with a zero byte; there is one argument.
            pg_catalog.convert_from(
                pg_catalog.substr(t.tgargs, 1, pg_catalog.octet_length(t.tgargs) OPERATOR(pg_catalog.-) 1),
                pg_catalog.getdatabaseencoding()
            )::pg_catalog.jsonb AS json,
            pg_catalog.array_agg(
                -- The bits of pg_trigger.h: 4 insert, 8 delete, 16 update.
                CASE t.tgtype::pg_catalog.int4 OPERATOR(pg_catalog.&) 28
                    WHEN 4 THEN 'insert' WHEN 16 THEN 'update' ELSE 'delete' END
                ORDER BY t.tgname
            ) AS operations
        FROM pg_catalog.pg_trigger AS t
        WHERE t.tgfoid OPERATOR(pg_catalog.=) 'sequin.capture()'::pg_catalog.regprocedure
            -- sequin_attach gives one argument; a trigger made by hand may have none.
            AND t.tgnargs OPERATOR(pg_catalog.=) 1
        GROUP BY t.tgrelid, t.tgargs
    ) AS attached
    CROSS JOIN LATERAL pg_catalog.jsonb_to_record(attached.json) AS argument(
        sync_id pg_catalog.text,
        collection_id pg_catalog.text,
        upstream_id_column pg_catalog.name,
        fields pg_catalog.jsonb,
        delivery pg_catalog.text,
        await_consumers pg_catalog.text[],
        timeout_ms pg_catalog.int4,
        server pg_catalog.name
    );
COMMENT ON VIEW sequin.attachments IS 'the tables that sequin_attach has attached, and how';
COMMENT ON COLUMN sequin.attachments.relation IS 'the table';
COMMENT ON COLUMN sequin.attachments.sync_id IS 'the sync that its rows are sent with';
COMMENT ON COLUMN sequin.attachments.collection_id IS 'provider:collection, as in salesforce:contact';
COMMENT ON COLUMN sequin.attachments.upstream_id_column IS 'the column that holds each row''s upstream id';
COMMENT ON COLUMN sequin.attachments.fields IS
    'column to provider field; NULL: every column but the key and the upstream id, under its own name';
COMMENT ON COLUMN sequin.attachments.delivery IS 'inline: within the statement';
COMMENT ON COLUMN sequin.attachments.operations IS 'the statements that are sent: insert, update, delete';
COMMENT ON COLUMN sequin.attachments.await_consumers IS 'the consumers that each request waits for; NULL: none';
COMMENT ON COLUMN sequin.attachments.timeout_ms IS 'how long it waits for them; NULL: the API''s default';
COMMENT ON COLUMN sequin.attachments.server IS 'the foreign server';

CREATE FUNCTION @extschema@.sequin_attach(
    target pg_catalog.regclass,
    sync_id pg_catalog.text,
    collection_id pg_catalog.text,
    upstream_id_column pg_catalog.name,
    fields pg_catalog.jsonb DEFAULT NULL,
    delivery pg_catalog.text DEFAULT 'outbox',
    operations pg_catalog.text[] DEFAULT '{insert,update,delete}',
    await_consumers pg_catalog.text[] DEFAULT NULL,
    timeout_ms pg_catalog.int4 DEFAULT NULL,
    server pg_catalog.name DEFAULT NULL
) RETURNS pg_catalog.void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'sequin_attach_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_attach(
    pg_catalog.regclass, pg_catalog.text, pg_catalog.text, pg_catalog.name, pg_catalog.jsonb, pg_catalog.text,
    pg_catalog.text[], pg_catalog.text[], pg_catalog.int4, pg_catalog.name
) IS
    'makes a table write through: each statement on it is sent to the API, by triggers';

CREATE FUNCTION @extschema@.sequin_detach(target pg_catalog.regclass) RETURNS pg_catalog.void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'sequin_detach_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_detach(pg_catalog.regclass) IS 'ends what sequin_attach began';

-- What is attached can be seen in pg_trigger as well.
GRANT USAGE ON SCHEMA sequin TO PUBLIC;
GRANT SELECT ON sequin.attachments TO PUBLIC;

-- All of them reach the network, or decide what does: only those who are granted them may call them.
REVOKE EXECUTE ON FUNCTION
    sequin.validate_options(pg_catalog.text[], pg_catalog.oid),
    sequin.plan_calls(internal),
    sequin.capture(),
    sequin.refuse_truncate(),
    @extschema@.sequin_attach(
        pg_catalog.regclass, pg_catalog.text, pg_catalog.text, pg_catalog.name, pg_catalog.jsonb, pg_catalog.text,
        pg_catalog.text[], pg_catalog.text[], pg_catalog.int4, pg_catalog.name
    ),
    @extschema@.sequin_detach(pg_catalog.regclass),
    @extschema@.sequin_mutate(
        pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.jsonb, pg_catalog.text[], pg_catalog.int4,
        pg_catalog.name
    ),
    @extschema@.sequin_create(
        pg_catalog.text, pg_catalog.text, pg_catalog.jsonb, pg_catalog.text[], pg_catalog.int4, pg_catalog.name
    ),
    @extschema@.sequin_update(
        pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.jsonb, pg_catalog.text[], pg_catalog.int4,
        pg_catalog.name
    ),
    @extschema@.sequin_delete(
        pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text[], pg_catalog.int4, pg_catalog.name
    )
FROM PUBLIC;
