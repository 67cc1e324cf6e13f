-- The objects of sequin_mutations 1.0.0. Once released, this file does not change; what changes is an upgrade step.
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
    'trigger of attached tables: sends what a statement has changed, and keeps upstream ids from being erased; made by sequin_attach';

CREATE FUNCTION sequin.end_statement() RETURNS trigger
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'end_statement_wrapper';
COMMENT ON FUNCTION sequin.end_statement() IS
    'trigger of sequin.statement_end: sends what statements within a statement have changed';

-- Without rows. A statement on it is run within another one, to have its trigger fire after all others of that one.
CREATE TABLE sequin.statement_end (
    id pg_catalog.int4 PRIMARY KEY
);
COMMENT ON TABLE sequin.statement_end IS
    'inner table of attached tables, always empty: its trigger fires at the end of a statement that has written one';
COMMENT ON COLUMN sequin.statement_end.id IS 'never filled';
CREATE TRIGGER end_of_statement AFTER UPDATE ON sequin.statement_end
    FOR EACH STATEMENT EXECUTE FUNCTION sequin.end_statement();
-- A session that replays changes may have the triggers of attached tables fire. Their statements end as well.
ALTER TABLE sequin.statement_end ENABLE ALWAYS TRIGGER end_of_statement;
COMMENT ON TRIGGER end_of_statement ON sequin.statement_end IS 'sends what statements within a statement have changed';

CREATE FUNCTION sequin.refuse_truncate() RETURNS trigger
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'refuse_truncate_wrapper';
COMMENT ON FUNCTION sequin.refuse_truncate() IS
    'trigger of attached tables: refuses TRUNCATE, which does not tell which rows there were';

CREATE FUNCTION sequin.is_attachment(argument pg_catalog.bytea) RETURNS pg_catalog.bool
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'is_attachment_wrapper';
COMMENT ON FUNCTION sequin.is_attachment(pg_catalog.bytea) IS
    'whether this is the argument of an attached table''s trigger, and not of one that somebody made by hand';

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
            pg_catalog.substr(t.tgargs, 1, pg_catalog.octet_length(t.tgargs) OPERATOR(pg_catalog.-) 1) AS argument,
            pg_catalog.array_agg(
                -- The bits of pg_trigger.h: 4 insert, 8 delete, 16 update.
                CASE t.tgtype::pg_catalog.int4 OPERATOR(pg_catalog.&) 28
                    WHEN 4 THEN 'insert' WHEN 16 THEN 'update' ELSE 'delete' END
                ORDER BY t.tgname
            ) AS operations
        FROM pg_catalog.pg_trigger AS t
        WHERE t.tgfoid OPERATOR(pg_catalog.=) 'sequin.capture()'::pg_catalog.regprocedure
            -- For statements, not for rows. sequin_attach gives one argument, and none to the trigger before a statement.
            AND t.tgnargs OPERATOR(pg_catalog.=) 1
            AND t.tgtype::pg_catalog.int4 OPERATOR(pg_catalog.&) 3 OPERATOR(pg_catalog.=) 0
        GROUP BY t.tgrelid, t.tgargs
    ) AS attached
    CROSS JOIN LATERAL pg_catalog.jsonb_to_record(
        CASE WHEN sequin.is_attachment(attached.argument) THEN
            pg_catalog.convert_from(attached.argument, pg_catalog.getdatabaseencoding())::pg_catalog.jsonb
        END
    ) AS argument(
        sync_id pg_catalog.text,
        collection_id pg_catalog.text,
        upstream_id_column pg_catalog.name,
        fields pg_catalog.jsonb,
        delivery pg_catalog.text,
        await_consumers pg_catalog.text[],
        timeout_ms pg_catalog.int4,
        server pg_catalog.name
    )
    -- Each attachment has one; what is none has nothing.
    WHERE argument.sync_id IS NOT NULL;
COMMENT ON VIEW sequin.attachments IS 'the tables that sequin_attach has attached, and how';
COMMENT ON COLUMN sequin.attachments.relation IS 'the table';
COMMENT ON COLUMN sequin.attachments.sync_id IS 'the sync that its rows are sent with';
COMMENT ON COLUMN sequin.attachments.collection_id IS 'provider:collection, as in salesforce:contact';
COMMENT ON COLUMN sequin.attachments.upstream_id_column IS 'the column that holds each row''s upstream id';
COMMENT ON COLUMN sequin.attachments.fields IS
    'column to provider field; NULL: every column but the key and the upstream id, under its own name';
COMMENT ON COLUMN sequin.attachments.delivery IS 'outbox: after commit; inline: within the statement';
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

-- The outbox: what is sent after commit. sequin.queue takes what was enqueued and is only inserted into and deleted
-- from; what was tried and not delivered, or waits behind such a record, moves to sequin.deferred; what is done moves to
-- sequin.history. All of it is written by the extension alone, and read through the views below.

CREATE SEQUENCE sequin.outbox_id;
COMMENT ON SEQUENCE sequin.outbox_id IS 'ids of the outbox''s records and claims; CACHE 1, because ids of one key must rise';

CREATE TABLE sequin.queue (
    server pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
    id pg_catalog.int8 NOT NULL,
    key pg_catalog.uuid NOT NULL,
    role pg_catalog.regrole NOT NULL,
    kind pg_catalog.text NOT NULL,
    sync_id pg_catalog.text NOT NULL,
    collection_id pg_catalog.text NOT NULL,
    await_consumers pg_catalog.text[],
    timeout_ms pg_catalog.int4,
    relation pg_catalog.regclass,
    ordering_key pg_catalog.text COLLATE pg_catalog."C",
    upstream_id pg_catalog.text,
    data pg_catalog.jsonb,
    enqueued_at timestamp with time zone NOT NULL,
    PRIMARY KEY (server, id)
    -- Its pages are written without the executor.
) USING heap WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_analyze_scale_factor = 0,
        autovacuum_analyze_threshold = 50000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE sequin.queue IS 'inner table of the outbox: records as they were enqueued; read sequin.outbox instead';

-- An ordering key may be longer than a btree entry: indexes hold its hash, and queries compare hash and key.
-- The few that wait for the upstream id that the create of their row brings.
CREATE INDEX queue_without_upstream_id ON sequin.queue (relation, pg_catalog.hashtextextended(ordering_key, 0))
    WHERE upstream_id IS NULL AND kind OPERATOR(pg_catalog.<>) 'create';

CREATE TABLE sequin.deferred (
    LIKE sequin.queue,
    state pg_catalog.text NOT NULL,
    attempts pg_catalog.int4 NOT NULL,
    next_attempt_at timestamp with time zone NOT NULL,
    outcome pg_catalog.text,
    error pg_catalog.text,
    -- Sent again at a person's wish although it may have been applied: exactly as it was.
    resend_verbatim pg_catalog.bool NOT NULL,
    PRIMARY KEY (id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
COMMENT ON TABLE sequin.deferred IS
    'inner table of the outbox: records that were not delivered at the first try; read sequin.outbox instead';
CREATE INDEX deferred_by_key ON sequin.deferred (server, pg_catalog.hashtextextended(ordering_key, 0));
-- The few that wait for a person, among all that wait.
CREATE INDEX deferred_dead ON sequin.deferred (id) WHERE state OPERATOR(pg_catalog.<>) 'pending';
CREATE INDEX deferred_by_time ON sequin.deferred (server, next_attempt_at) WHERE state OPERATOR(pg_catalog.=) 'pending';
CREATE INDEX deferred_without_upstream_id ON sequin.deferred (relation, pg_catalog.hashtextextended(ordering_key, 0))
    WHERE upstream_id IS NULL AND kind OPERATOR(pg_catalog.<>) 'create';

CREATE TABLE sequin.claims (
    id pg_catalog.int8 PRIMARY KEY,
    owner pg_catalog.int8 NOT NULL,
    server pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
    kind pg_catalog.text NOT NULL,
    ids pg_catalog.int8[] NOT NULL,
    -- For each of the ids the record of the request that it became a part of; empty: each of them is one.
    heads pg_catalog.int8[] NOT NULL,
    -- Hashes of what they keep their order with.
    keys pg_catalog.int8[] NOT NULL,
    claimed_at timestamp with time zone NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
-- Claims live for milliseconds: to compress them would be lost labour.
ALTER TABLE sequin.claims
    ALTER ids SET STORAGE EXTERNAL, ALTER heads SET STORAGE EXTERNAL, ALTER keys SET STORAGE EXTERNAL;
COMMENT ON TABLE sequin.claims IS 'inner table of the outbox: the requests under way, each written down before it is sent';

CREATE TABLE sequin.history (
    LIKE sequin.queue,
    delivered_at timestamp with time zone NOT NULL,
    outcome pg_catalog.text NOT NULL,
    sent_with pg_catalog.int8,
    record pg_catalog.json,
    PRIMARY KEY (id)
) USING heap WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000);
COMMENT ON TABLE sequin.history IS 'inner table of the outbox: what is done; read sequin.delivered instead';
CREATE INDEX history_by_time ON sequin.history (delivered_at);

CREATE TABLE sequin.pending_upstream_ids (
    id pg_catalog.int8 PRIMARY KEY,
    server pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
    relation pg_catalog.regclass NOT NULL,
    ordering_key pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
    upstream_id pg_catalog.text NOT NULL,
    error pg_catalog.text,
    -- Visits to the table that failed as a whole, or have not come back; and when it may be visited again. NULL: now.
    attempts pg_catalog.int4 NOT NULL DEFAULT 0,
    next_attempt_at timestamp with time zone,
    -- The role of the create: its members see that the id waits. The history may have forgotten the create.
    role pg_catalog.regrole NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
COMMENT ON TABLE sequin.pending_upstream_ids IS 'inner table of the outbox: upstream ids that are still to be written into their rows';
CREATE INDEX pending_upstream_ids_by_row ON sequin.pending_upstream_ids (pg_catalog.hashtextextended(ordering_key, 0), relation);
CREATE INDEX pending_upstream_ids_resting ON sequin.pending_upstream_ids (relation) WHERE next_attempt_at IS NOT NULL;

-- role 0 stands for all roles.
CREATE TABLE sequin.pauses (
    server pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
    role pg_catalog.oid NOT NULL,
    reason pg_catalog.text NOT NULL,
    -- What the catalogs said when the machine made the pause; it ends when they say something else. NULL: a person's.
    setup pg_catalog.text,
    since timestamp with time zone NOT NULL,
    PRIMARY KEY (server, role)
);
COMMENT ON TABLE sequin.pauses IS 'inner table of the outbox: the queues that wait for a person; read sequin.status instead';

CREATE TABLE sequin.holds (
    server pg_catalog.text COLLATE pg_catalog."C" PRIMARY KEY,
    below pg_catalog.int8 NOT NULL,
    reason pg_catalog.text NOT NULL,
    since timestamp with time zone NOT NULL
);
COMMENT ON TABLE sequin.holds IS
    'inner table of the outbox: the servers of which the records below an id wait for sequin_resume; read sequin.outbox instead';

CREATE TABLE sequin.server_backoff (
    server pg_catalog.text COLLATE pg_catalog."C" PRIMARY KEY,
    error pg_catalog.text NOT NULL,
    since timestamp with time zone NOT NULL,
    last_at timestamp with time zone NOT NULL,
    next_attempt_at timestamp with time zone NOT NULL,
    -- Requests with creates that became unknown since the server last worked, and when the next one may be made. NULL: now.
    lost_creates pg_catalog.int4 NOT NULL DEFAULT 0,
    creates_after timestamp with time zone
);
COMMENT ON TABLE sequin.server_backoff IS 'inner table of the outbox: the servers that do not answer as they should; read sequin.status instead';

CREATE TABLE sequin.origin (
    system_identifier pg_catalog.int8 NOT NULL,
    database pg_catalog.oid NOT NULL,
    PRIMARY KEY (system_identifier, database)
);
COMMENT ON TABLE sequin.origin IS
    'inner table of the outbox: the database that it belongs to; a copy of that database does not send what was queued before';

-- Each session writes an id of its own, so that none waits for another. No dump has it, and rows of another database
-- count for nothing.
CREATE TABLE sequin.first_ids (
    system_identifier pg_catalog.int8 NOT NULL,
    database pg_catalog.oid NOT NULL,
    id pg_catalog.int8 NOT NULL,
    PRIMARY KEY (system_identifier, database, id)
);
COMMENT ON TABLE sequin.first_ids IS
    'inner table of the outbox: the first ids that sessions have enqueued in a database made from a template';

-- A restore of a dump adds the row of the database that was dumped.
INSERT INTO sequin.origin
    SELECT c.system_identifier, d.oid
    FROM pg_catalog.pg_control_system() AS c, pg_catalog.pg_database AS d
    WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database();

-- A dump has what the dumping role sees in the views: all of it for a superuser, its own records for another role.
SELECT pg_catalog.pg_extension_config_dump('sequin.outbox_id', '');
SELECT pg_catalog.pg_extension_config_dump('sequin.queue',
    $$WHERE pg_catalog.pg_has_role(role, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE')$$);
SELECT pg_catalog.pg_extension_config_dump('sequin.deferred',
    $$WHERE pg_catalog.pg_has_role(role, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE')$$);
SELECT pg_catalog.pg_extension_config_dump('sequin.claims', '');
SELECT pg_catalog.pg_extension_config_dump('sequin.pending_upstream_ids',
    $$WHERE pg_catalog.has_table_privilege(relation, 'SELECT')$$);
SELECT pg_catalog.pg_extension_config_dump('sequin.pauses',
    $$WHERE role OPERATOR(pg_catalog.=) 0::pg_catalog.oid OR pg_catalog.pg_has_role(role, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE')$$);
SELECT pg_catalog.pg_extension_config_dump('sequin.holds', '');
SELECT pg_catalog.pg_extension_config_dump('sequin.origin', '');

CREATE FUNCTION sequin.workers() RETURNS pg_catalog.int4[]
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'workers_wrapper';
COMMENT ON FUNCTION sequin.workers() IS 'the process ids of this database''s workers';

CREATE VIEW sequin.outbox WITH (security_barrier) AS
    SELECT
        open.id, open.key, open.server, open.role, open.kind, open.sync_id, open.collection_id, open.ordering_key,
        open.upstream_id,
        -- Of a delete it is kept in case the row comes back, and it is not sent.
        CASE WHEN open.kind OPERATOR(pg_catalog.<>) 'delete' THEN open.data END AS data,
        CASE WHEN claimed.id IS NULL THEN open.state ELSE 'sending' END AS state,
        -- A worker writes infinity for "not by itself", which not every driver can read.
        open.attempts, NULLIF(open.next_attempt_at, 'infinity') AS next_attempt_at, open.enqueued_at, open.outcome,
        CASE WHEN open.state OPERATOR(pg_catalog.=) 'pending' AND open.id OPERATOR(pg_catalog.<) held.below
            THEN held.reason ELSE open.error END AS error,
        open.relation, open.await_consumers, open.timeout_ms
    FROM (
        SELECT
            q.*, 'pending'::pg_catalog.text AS state, 0 AS attempts, q.enqueued_at AS next_attempt_at,
            NULL::pg_catalog.text AS outcome, NULL::pg_catalog.text AS error, false AS resend_verbatim
        FROM sequin.queue AS q
        UNION ALL
        SELECT
            p.server, p.id, p.key, p.role, p.kind, p.sync_id, p.collection_id, p.await_consumers, p.timeout_ms,
            p.relation, p.ordering_key, p.upstream_id, p.data, p.enqueued_at, p.state, p.attempts, p.next_attempt_at,
            p.outcome, p.error, p.resend_verbatim
        FROM sequin.deferred AS p
    ) AS open
    LEFT JOIN (SELECT pg_catalog.unnest(c.ids) AS id FROM sequin.claims AS c) AS claimed
        ON claimed.id OPERATOR(pg_catalog.=) open.id
    LEFT JOIN sequin.holds AS held ON held.server OPERATOR(pg_catalog.=) open.server
    WHERE pg_catalog.pg_has_role(open.role, 'USAGE')
        OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE');
COMMENT ON VIEW sequin.outbox IS
    'the open work of the outbox, as far as the role may see it: its own records, and those of roles that it is a member of';
COMMENT ON COLUMN sequin.outbox.id IS 'the number that sequin_enqueue returned';
COMMENT ON COLUMN sequin.outbox.key IS 'the record''s idempotency key: the same in every attempt';
COMMENT ON COLUMN sequin.outbox.server IS 'the foreign server';
COMMENT ON COLUMN sequin.outbox.role IS 'who enqueued it: with that role''s user mapping it is sent';
COMMENT ON COLUMN sequin.outbox.kind IS 'create, update or delete';
COMMENT ON COLUMN sequin.outbox.sync_id IS 'the sync that it is sent with';
COMMENT ON COLUMN sequin.outbox.collection_id IS 'provider:collection, as in salesforce:contact';
COMMENT ON COLUMN sequin.outbox.ordering_key IS
    'what it keeps its order with: the upstream id, the attached row''s primary key, or what was passed; NULL: nothing';
COMMENT ON COLUMN sequin.outbox.upstream_id IS 'the record''s id at the provider, once it is known';
COMMENT ON COLUMN sequin.outbox.data IS 'the fields that are sent; NULL of a delete';
COMMENT ON COLUMN sequin.outbox.state IS
    'pending: waits for its turn; sending: under way; rejected: the API refuses it, or an error came up while it was handled; unknown: a create that may have been applied';
COMMENT ON COLUMN sequin.outbox.attempts IS 'how many requests with it have failed';
COMMENT ON COLUMN sequin.outbox.next_attempt_at IS
    'the next attempt is not before this time; NULL: no time is set, the record waits for another record, for a pause to end or for a person';
COMMENT ON COLUMN sequin.outbox.enqueued_at IS 'when the transaction that enqueued it began';
COMMENT ON COLUMN sequin.outbox.outcome IS 'of the last attempt, as in an error''s DETAIL';
COMMENT ON COLUMN sequin.outbox.error IS
    'what the API, the network or Postgres said; in a copy of a database, why a record from before the copy waits for sequin_resume';
COMMENT ON COLUMN sequin.outbox.relation IS 'the attached table that it comes from';
COMMENT ON COLUMN sequin.outbox.await_consumers IS 'the consumers that its request waits for; NULL: none';
COMMENT ON COLUMN sequin.outbox.timeout_ms IS 'how long it waits for them; NULL: the API''s default';

CREATE VIEW sequin.dead_letters WITH (security_barrier) AS
    SELECT
        p.id, p.key, p.server, p.role, p.kind, p.sync_id, p.collection_id, p.ordering_key, p.upstream_id, p.data,
        p.state, p.attempts, NULLIF(p.next_attempt_at, 'infinity') AS next_attempt_at, p.enqueued_at, p.outcome, p.error,
        p.relation, p.await_consumers, p.timeout_ms
    -- A record that was never tried is not dead, so sequin.queue is not read.
    FROM sequin.deferred AS p
    -- A rejected record may be under way with a later change of its key.
    LEFT JOIN (SELECT pg_catalog.unnest(c.ids) AS id FROM sequin.claims AS c) AS claimed
        ON claimed.id OPERATOR(pg_catalog.=) p.id
    WHERE p.state OPERATOR(pg_catalog.<>) 'pending' AND claimed.id IS NULL
        AND (pg_catalog.pg_has_role(p.role, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE'));
COMMENT ON VIEW sequin.dead_letters IS
    'the records that wait for a person: sequin_retry(id), sequin_discard(id) or sequin_resolve(id, upstream_id)';
COMMENT ON COLUMN sequin.dead_letters.id IS 'the number that sequin_enqueue returned';
COMMENT ON COLUMN sequin.dead_letters.key IS 'the record''s idempotency key: the same in every attempt';
COMMENT ON COLUMN sequin.dead_letters.server IS 'the foreign server';
COMMENT ON COLUMN sequin.dead_letters.role IS 'the role that enqueued the record';
COMMENT ON COLUMN sequin.dead_letters.kind IS 'create, update or delete';
COMMENT ON COLUMN sequin.dead_letters.sync_id IS 'the sync that the record is sent with';
COMMENT ON COLUMN sequin.dead_letters.collection_id IS 'provider:collection, as in salesforce:contact';
COMMENT ON COLUMN sequin.dead_letters.ordering_key IS
    'records with the same key are delivered in order; NULL: in no order';
COMMENT ON COLUMN sequin.dead_letters.upstream_id IS 'the record''s id at the provider, once it is known';
COMMENT ON COLUMN sequin.dead_letters.data IS 'the fields that are sent; NULL of a delete';
COMMENT ON COLUMN sequin.dead_letters.state IS
    'rejected: the API refuses the record, or an error came up while it was handled; unknown: a create that may have been applied';
COMMENT ON COLUMN sequin.dead_letters.attempts IS 'how many requests with the record have failed';
COMMENT ON COLUMN sequin.dead_letters.next_attempt_at IS 'NULL: a dead record is not sent again by itself';
COMMENT ON COLUMN sequin.dead_letters.enqueued_at IS 'when the transaction that enqueued the record began';
COMMENT ON COLUMN sequin.dead_letters.outcome IS 'of the last attempt, as in an error''s DETAIL';
COMMENT ON COLUMN sequin.dead_letters.error IS 'what the API, the network or Postgres said';
COMMENT ON COLUMN sequin.dead_letters.relation IS 'the attached table that the record comes from';
COMMENT ON COLUMN sequin.dead_letters.await_consumers IS 'the consumers that its request waits for; NULL: none';
COMMENT ON COLUMN sequin.dead_letters.timeout_ms IS 'how long it waits for them; NULL: the API''s default';

CREATE VIEW sequin.delivered WITH (security_barrier) AS
    SELECT
        h.id, h.key, h.server, h.role, h.kind, h.sync_id, h.collection_id, h.ordering_key, h.upstream_id, h.data,
        h.enqueued_at, h.delivered_at, h.outcome, h.sent_with, h.record, h.relation,
        CASE WHEN c.id IS NULL THEN NULL WHEN c.error IS NULL THEN 'waiting' ELSE 'failed' END AS write_back,
        c.error AS write_back_error
    FROM sequin.history AS h
    LEFT JOIN sequin.pending_upstream_ids AS c ON c.id OPERATOR(pg_catalog.=) h.id
    WHERE pg_catalog.pg_has_role(h.role, 'USAGE')
        OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE');
COMMENT ON VIEW sequin.delivered IS 'the records that are done, for as long as the setting sequin.retention says';
COMMENT ON COLUMN sequin.delivered.id IS 'the number that sequin_enqueue returned';
COMMENT ON COLUMN sequin.delivered.key IS 'the record''s idempotency key';
COMMENT ON COLUMN sequin.delivered.server IS 'the foreign server';
COMMENT ON COLUMN sequin.delivered.role IS 'who enqueued it';
COMMENT ON COLUMN sequin.delivered.kind IS 'create, update or delete';
COMMENT ON COLUMN sequin.delivered.sync_id IS 'the sync that it was sent with';
COMMENT ON COLUMN sequin.delivered.collection_id IS 'provider:collection, as in salesforce:contact';
COMMENT ON COLUMN sequin.delivered.ordering_key IS 'what it kept its order with';
COMMENT ON COLUMN sequin.delivered.upstream_id IS 'the record''s id at the provider';
COMMENT ON COLUMN sequin.delivered.data IS 'the fields that were enqueued';
COMMENT ON COLUMN sequin.delivered.enqueued_at IS 'when the transaction that enqueued it began';
COMMENT ON COLUMN sequin.delivered.delivered_at IS 'when it was done';
COMMENT ON COLUMN sequin.delivered.outcome IS
    'applied, applied_reply_lost, applied_not_confirmed; superseded by a delete; cancelled_out: created and deleted before it was sent; nothing_to_send; merged into an unknown create; discarded or resolved by a person';
COMMENT ON COLUMN sequin.delivered.sent_with IS 'the record that this one was merged into; NULL: it was sent by itself, or not at all';
COMMENT ON COLUMN sequin.delivered.record IS 'the record as the API replied with it; NULL if the reply was lost';
COMMENT ON COLUMN sequin.delivered.relation IS 'the attached table that it came from';
COMMENT ON COLUMN sequin.delivered.write_back IS
    'of a create, whether its upstream id is still to be written into its row; waiting: not yet; failed: the last try failed, and the next comes by itself; NULL: nothing is to be written';
COMMENT ON COLUMN sequin.delivered.write_back_error IS 'why the last try to write the upstream id failed';

CREATE VIEW sequin.status WITH (security_barrier) AS
    WITH usable AS (
        SELECT s.srvname::pg_catalog.text AS server
        FROM pg_catalog.pg_foreign_server AS s
        JOIN pg_catalog.pg_foreign_data_wrapper AS w
            ON w.oid OPERATOR(pg_catalog.=) s.srvfdw AND w.fdwname OPERATOR(pg_catalog.=) 'sequin_mutations'
        WHERE pg_catalog.has_server_privilege(s.oid, 'USAGE')
    ), backlog AS (
        SELECT
            o.server,
            pg_catalog.count(*) AS records,
            pg_catalog.min(o.enqueued_at) AS oldest,
            pg_catalog.count(*) FILTER (WHERE o.state OPERATOR(pg_catalog.=) 'rejected') AS rejected,
            pg_catalog.count(*) FILTER (WHERE o.state OPERATOR(pg_catalog.=) 'unknown') AS unknown
        FROM sequin.outbox AS o GROUP BY o.server
    ), write_backs AS (
        SELECT
            c.server,
            pg_catalog.count(*) AS records,
            (pg_catalog.array_agg(c.error ORDER BY c.id DESC) FILTER (WHERE c.error IS NOT NULL))[1] AS error
        FROM sequin.pending_upstream_ids AS c
        WHERE pg_catalog.pg_has_role(c.role, 'USAGE')
            OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE')
        GROUP BY c.server
    ), named AS (
        -- Records outlive a server that was dropped.
        SELECT u.server FROM usable AS u UNION SELECT b.server FROM backlog AS b
        UNION SELECT w.server FROM write_backs AS w
    ), rate AS (
        SELECT d.server, pg_catalog.count(*) AS records
        FROM sequin.delivered AS d
        WHERE d.delivered_at OPERATOR(pg_catalog.>) (
            pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) '10 seconds'::pg_catalog.interval
        )
        GROUP BY d.server
    ), pauses AS (
        SELECT p.server, pg_catalog.string_agg(p.reason, '; ' ORDER BY p.role) AS reasons
        FROM sequin.pauses AS p
        WHERE p.role OPERATOR(pg_catalog.=) 0::pg_catalog.oid
            OR pg_catalog.pg_has_role(p.role, 'USAGE')
            OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE')
        GROUP BY p.server
    )
    SELECT
        n.server,
        COALESCE(b.records, 0) AS backlog,
        pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) b.oldest AS oldest,
        COALESCE(r.records, 0)::pg_catalog.float8 OPERATOR(pg_catalog./) 10 AS records_per_second,
        p.reasons IS NOT NULL AS paused,
        COALESCE(p.reasons, t.error, h.reason) AS last_error,
        t.next_attempt_at,
        COALESCE(b.rejected, 0) AS rejected,
        COALESCE(b.unknown, 0) AS unknown,
        pg_catalog.cardinality(sequin.workers()) OPERATOR(pg_catalog.>) 0 AS worker_alive,
        COALESCE(w.records, 0) AS write_backs,
        w.error AS write_back_error
    FROM named AS n
    LEFT JOIN backlog AS b ON b.server OPERATOR(pg_catalog.=) n.server
    LEFT JOIN rate AS r ON r.server OPERATOR(pg_catalog.=) n.server
    LEFT JOIN pauses AS p ON p.server OPERATOR(pg_catalog.=) n.server
    LEFT JOIN write_backs AS w ON w.server OPERATOR(pg_catalog.=) n.server
    LEFT JOIN sequin.server_backoff AS t ON t.server OPERATOR(pg_catalog.=) n.server
    LEFT JOIN sequin.holds AS h ON h.server OPERATOR(pg_catalog.=) n.server;
COMMENT ON VIEW sequin.status IS
    'the outbox of each server that the role may use or has records for, counting the records that it may see';
COMMENT ON COLUMN sequin.status.server IS 'the foreign server';
COMMENT ON COLUMN sequin.status.backlog IS 'records that are not delivered';
COMMENT ON COLUMN sequin.status.oldest IS 'how long the oldest of them has waited; NULL: there is none';
COMMENT ON COLUMN sequin.status.records_per_second IS 'delivered in the last ten seconds, a second';
COMMENT ON COLUMN sequin.status.paused IS 'whether it waits for sequin_resume, for some role at least';
COMMENT ON COLUMN sequin.status.last_error IS 'why it is paused, or what stands in the way now; NULL: nothing';
COMMENT ON COLUMN sequin.status.next_attempt_at IS 'when the server is tried again after an error; NULL: there was none';
COMMENT ON COLUMN sequin.status.rejected IS 'records that the API refuses';
COMMENT ON COLUMN sequin.status.unknown IS 'creates of which nobody knows whether they were applied';
COMMENT ON COLUMN sequin.status.worker_alive IS 'whether a worker of this database is running';
COMMENT ON COLUMN sequin.status.write_backs IS
    'upstream ids that are not in their rows yet; sequin.delivered shows which, in its column write_back';
COMMENT ON COLUMN sequin.status.write_back_error IS
    'why the last upstream id among them could not be written; NULL: none has failed';

CREATE FUNCTION @extschema@.sequin_enqueue(
    kind pg_catalog.text,
    sync_id pg_catalog.text,
    collection_id pg_catalog.text,
    records pg_catalog.jsonb,
    await_consumers pg_catalog.text[] DEFAULT NULL,
    timeout_ms pg_catalog.int4 DEFAULT NULL,
    server pg_catalog.name DEFAULT NULL,
    ordering_key pg_catalog.text DEFAULT NULL
) RETURNS SETOF pg_catalog.int8
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'sequin_enqueue_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_enqueue(
    pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.jsonb, pg_catalog.text[], pg_catalog.int4,
    pg_catalog.name, pg_catalog.text
) IS
    'queues creates, updates or deletes in this transaction, to be sent after its commit; returns an id for each record';

CREATE FUNCTION @extschema@.sequin_retry(id pg_catalog.int8) RETURNS pg_catalog.void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'sequin_retry_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_retry(pg_catalog.int8) IS
    'sends a record of the outbox again, at once; of an unknown create this can make a second record upstream';

CREATE FUNCTION @extschema@.sequin_discard(id pg_catalog.int8) RETURNS pg_catalog.void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'sequin_discard_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_discard(pg_catalog.int8) IS
    'takes a record out of the outbox without sending it; what waited behind it goes on';

CREATE FUNCTION @extschema@.sequin_resolve(id pg_catalog.int8, upstream_id pg_catalog.text) RETURNS pg_catalog.void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'sequin_resolve_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_resolve(pg_catalog.int8, pg_catalog.text) IS
    'says that an unknown create was applied, and under which upstream id; what waited behind it goes on';

CREATE FUNCTION @extschema@.sequin_pause(server pg_catalog.name) RETURNS pg_catalog.void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'sequin_pause_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_pause(pg_catalog.name) IS
    'stops the delivery of a server''s outbox until sequin_resume; enqueuing goes on';

CREATE FUNCTION @extschema@.sequin_resume(server pg_catalog.name) RETURNS pg_catalog.void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'sequin_resume_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_resume(pg_catalog.name) IS
    'ends every pause of a server''s outbox, and sends the records that a copy of the database holds';

CREATE FUNCTION @extschema@.sequin_await_delivery(
    ids pg_catalog.int8[],
    timeout_ms pg_catalog.int4 DEFAULT NULL
) RETURNS pg_catalog.bool
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'sequin_await_delivery_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_await_delivery(pg_catalog.int8[], pg_catalog.int4) IS
    'waits until none of these records is pending or sending; true: all are delivered, false: one is rejected or unknown, or the time is over';

-- ALTER SERVER ... RENAME: attached tables and open work hold the server's name.

CREATE FUNCTION sequin.follow_rename() RETURNS event_trigger
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'follow_rename_wrapper';
COMMENT ON FUNCTION sequin.follow_rename() IS
    'event trigger function: writes a foreign server''s new name into attached tables and open work';

CREATE EVENT TRIGGER sequin_follow_rename ON ddl_command_end
    WHEN TAG IN ('ALTER SERVER')
    EXECUTE FUNCTION sequin.follow_rename();
COMMENT ON EVENT TRIGGER sequin_follow_rename IS
    'lets attached tables and open work follow ALTER SERVER ... RENAME; does nothing for servers of other wrappers';

-- What is attached can be seen in pg_trigger as well.
GRANT USAGE ON SCHEMA sequin TO PUBLIC;
-- pg_dump locks each table that it takes rows of, and reads the sequence for a schema alone: the owner of the database
-- can dump it with these rights.
GRANT SELECT ON SEQUENCE sequin.outbox_id TO pg_database_owner;
GRANT SELECT ON
    sequin.queue, sequin.deferred, sequin.claims, sequin.pending_upstream_ids, sequin.pauses, sequin.holds, sequin.origin
TO pg_database_owner;
-- Each of these views shows a role its own rows.
GRANT SELECT ON sequin.attachments, sequin.outbox, sequin.dead_letters, sequin.delivered, sequin.status TO PUBLIC;
-- The views sequin.status and sequin.attachments call them.
GRANT EXECUTE ON FUNCTION sequin.workers(), sequin.is_attachment(pg_catalog.bytea) TO PUBLIC;

-- All of them reach the network, or decide what does: only those who are granted them may call them.
REVOKE EXECUTE ON FUNCTION
    sequin.validate_options(pg_catalog.text[], pg_catalog.oid),
    sequin.plan_calls(internal),
    sequin.capture(),
    sequin.end_statement(),
    sequin.refuse_truncate(),
    sequin.follow_rename(),
    @extschema@.sequin_attach(
        pg_catalog.regclass, pg_catalog.text, pg_catalog.text, pg_catalog.name, pg_catalog.jsonb, pg_catalog.text,
        pg_catalog.text[], pg_catalog.text[], pg_catalog.int4, pg_catalog.name
    ),
    @extschema@.sequin_detach(pg_catalog.regclass),
    @extschema@.sequin_enqueue(
        pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.jsonb, pg_catalog.text[], pg_catalog.int4,
        pg_catalog.name, pg_catalog.text
    ),
    @extschema@.sequin_retry(pg_catalog.int8),
    @extschema@.sequin_discard(pg_catalog.int8),
    @extschema@.sequin_resolve(pg_catalog.int8, pg_catalog.text),
    @extschema@.sequin_pause(pg_catalog.name),
    @extschema@.sequin_resume(pg_catalog.name),
    @extschema@.sequin_await_delivery(pg_catalog.int8[], pg_catalog.int4),
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
