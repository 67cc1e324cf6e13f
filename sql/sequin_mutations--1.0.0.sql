-- The objects of sequin_mutations 1.0.0. Once released, this file is fixed; changes go into upgrade scripts.
\echo Use "CREATE EXTENSION sequin_mutations" to load this file. \quit

-- Without IF NOT EXISTS: an existing schema could hold objects that shadow these.
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
COMMENT ON COLUMN @extschema@.sequin_record.collection_id IS 'the collection, for example salesforce:contact';
COMMENT ON COLUMN @extschema@.sequin_record.upstream_id IS 'the record''s id at the provider';
COMMENT ON COLUMN @extschema@.sequin_record.upstream_created_at IS 'when the provider created it';
COMMENT ON COLUMN @extschema@.sequin_record.upstream_updated_at IS 'when the provider last changed it';
COMMENT ON COLUMN @extschema@.sequin_record.inserted_at IS 'when the API first saw it';
COMMENT ON COLUMN @extschema@.sequin_record.updated_idx IS 'the record''s version: it rises with every change';
COMMENT ON COLUMN @extschema@.sequin_record.deleted IS 'whether the provider has deleted it';
COMMENT ON COLUMN @extschema@.sequin_record.data IS 'the provider''s fields';
COMMENT ON COLUMN @extschema@.sequin_record.extra IS
    'the reply''s other fields, and values that do not fit their column; NULL when there are none';

-- The verbs. The verbs for one record are plain functions and can stand in any expression. plan_calls keeps
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
    'sends one create, update or delete of many records to the API now, and returns the records of its reply; ROLLBACK does not undo it';

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

-- Attached tables. A trigger's argument is its attachment, so a dump of the table restores it.

CREATE FUNCTION sequin.capture() RETURNS trigger
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'capture_wrapper';
COMMENT ON FUNCTION sequin.capture() IS
    'trigger of attached tables: sends the changes of a statement, and keeps upstream ids from being erased; made by sequin_attach';

CREATE FUNCTION sequin.end_statement() RETURNS trigger
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'end_statement_wrapper';
COMMENT ON FUNCTION sequin.end_statement() IS 'trigger of sequin.statement_end: sends the changes of nested statements';

-- Always empty. The library runs a statement on it within another statement: its trigger fires after all triggers of
-- that other statement.
CREATE TABLE sequin.statement_end (
    id pg_catalog.int4 PRIMARY KEY
);
COMMENT ON TABLE sequin.statement_end IS
    'inner table of attached tables, always empty: its trigger fires at the end of a statement on an attached table';
COMMENT ON COLUMN sequin.statement_end.id IS 'never filled';
CREATE TRIGGER end_of_statement AFTER UPDATE ON sequin.statement_end
    FOR EACH STATEMENT EXECUTE FUNCTION sequin.end_statement();
-- With session_replication_role = replica, triggers of attached tables may still fire (ENABLE ALWAYS): so does this one.
ALTER TABLE sequin.statement_end ENABLE ALWAYS TRIGGER end_of_statement;
COMMENT ON TRIGGER end_of_statement ON sequin.statement_end IS 'sends the changes of nested statements';

CREATE FUNCTION sequin.refuse_truncate() RETURNS trigger
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'refuse_truncate_wrapper';
COMMENT ON FUNCTION sequin.refuse_truncate() IS
    'trigger of attached tables: refuses TRUNCATE, which does not show the removed rows';

CREATE FUNCTION sequin.is_attachment(argument pg_catalog.bytea) RETURNS pg_catalog.bool
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'is_attachment_wrapper';
COMMENT ON FUNCTION sequin.is_attachment(pg_catalog.bytea) IS
    'whether a trigger''s argument is an attachment that sequin_attach could have written';

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
    -- sync_id is mandatory: without it, the argument is not an attachment.
    WHERE argument.sync_id IS NOT NULL;
COMMENT ON VIEW sequin.attachments IS 'the tables that sequin_attach has attached, with its arguments';
COMMENT ON COLUMN sequin.attachments.relation IS 'the table';
COMMENT ON COLUMN sequin.attachments.sync_id IS 'the sync that its rows are sent with';
COMMENT ON COLUMN sequin.attachments.collection_id IS 'the collection, for example salesforce:contact';
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
    'makes a table write through: triggers send each statement on it to the API';

CREATE FUNCTION @extschema@.sequin_detach(target pg_catalog.regclass) RETURNS pg_catalog.void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'sequin_detach_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_detach(pg_catalog.regclass) IS
    'removes the triggers of sequin_attach: later statements on the table are not sent';

-- The outbox: records that a worker sends after commit. Enqueuing inserts into sequin.queue, whose rows are only deleted.
-- A record whose delivery failed, and each record that waits behind it, moves to sequin.deferred. A settled record moves
-- to sequin.history. Only the extension writes these tables; the views below read them.

CREATE SEQUENCE sequin.outbox_id;
COMMENT ON SEQUENCE sequin.outbox_id IS
    'ids of the outbox''s records and claims; CACHE 1, because the ids of one ordering key must rise';

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
    PRIMARY KEY (server, id),
    CONSTRAINT queue_kind_check CHECK (kind OPERATOR(pg_catalog.=) ANY ('{create,update,delete}'::pg_catalog.text[]))
) USING heap WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_analyze_scale_factor = 0,
        autovacuum_analyze_threshold = 50000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE sequin.queue IS 'inner table of the outbox: records as they were enqueued; read sequin.outbox instead';

-- An ordering key may be longer than a btree entry: indexes hold its hash, and queries compare hash and key.
-- Updates and deletes of rows whose create has not been delivered yet.
CREATE INDEX queue_without_upstream_id ON sequin.queue (relation, pg_catalog.hashtextextended(ordering_key, 0))
    WHERE upstream_id IS NULL AND kind OPERATOR(pg_catalog.<>) 'create';

CREATE TABLE sequin.deferred (
    LIKE sequin.queue,
    state pg_catalog.text NOT NULL,
    attempts pg_catalog.int4 NOT NULL,
    next_attempt_at timestamp with time zone NOT NULL,
    outcome pg_catalog.text,
    error pg_catalog.text,
    -- sequin_retry of an unknown create: it is sent exactly as before, never merged with other records.
    resend_verbatim pg_catalog.bool NOT NULL,
    -- The ids of the changes that were merged into an unknown create. NULL: none.
    merged_ids pg_catalog.int8[],
    -- When its first attempt failed, for the server option max_retry_age.
    failed_since timestamp with time zone,
    PRIMARY KEY (id),
    CONSTRAINT deferred_kind_check CHECK (kind OPERATOR(pg_catalog.=) ANY ('{create,update,delete}'::pg_catalog.text[])),
    CONSTRAINT deferred_state_check
        CHECK (state OPERATOR(pg_catalog.=) ANY ('{pending,rejected,unknown}'::pg_catalog.text[]))
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
COMMENT ON TABLE sequin.deferred IS
    'inner table of the outbox: records whose first delivery failed, and records that wait behind them; read sequin.outbox instead';
CREATE INDEX deferred_by_key ON sequin.deferred (server, pg_catalog.hashtextextended(ordering_key, 0));
-- Rejected and unknown records are few among many pending ones.
CREATE INDEX deferred_dead ON sequin.deferred (id) WHERE state OPERATOR(pg_catalog.<>) 'pending';
-- For sequin.status.
CREATE INDEX deferred_by_server ON sequin.deferred (server, id);
CREATE INDEX deferred_dead_by_server ON sequin.deferred (server, id) WHERE state OPERATOR(pg_catalog.<>) 'pending';
CREATE INDEX deferred_by_time ON sequin.deferred (server, next_attempt_at) WHERE state OPERATOR(pg_catalog.=) 'pending';
CREATE INDEX deferred_merged ON sequin.deferred (id) WHERE merged_ids IS NOT NULL;
CREATE INDEX deferred_without_upstream_id ON sequin.deferred (relation, pg_catalog.hashtextextended(ordering_key, 0))
    WHERE upstream_id IS NULL AND kind OPERATOR(pg_catalog.<>) 'create';

CREATE TABLE sequin.claims (
    id pg_catalog.int8 PRIMARY KEY,
    owner pg_catalog.int8 NOT NULL,
    server pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
    kind pg_catalog.text NOT NULL,
    ids pg_catalog.int8[] NOT NULL,
    -- For each id, the record that it was merged into. Empty: no record was merged.
    heads pg_catalog.int8[] NOT NULL,
    -- Hashes of the ordering keys.
    keys pg_catalog.int8[] NOT NULL,
    claimed_at timestamp with time zone NOT NULL,
    CONSTRAINT claims_kind_check CHECK (kind OPERATOR(pg_catalog.=) ANY ('{create,update,delete}'::pg_catalog.text[]))
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
-- Claims live for milliseconds: compression would cost more than it saves.
ALTER TABLE sequin.claims
    ALTER ids SET STORAGE EXTERNAL, ALTER heads SET STORAGE EXTERNAL, ALTER keys SET STORAGE EXTERNAL;
COMMENT ON TABLE sequin.claims IS 'inner table of the outbox: the requests in flight, each committed before it is sent';

CREATE TABLE sequin.history (
    LIKE sequin.queue,
    delivered_at timestamp with time zone NOT NULL,
    outcome pg_catalog.text NOT NULL,
    -- The ids of the changes that were merged into this one, which rise. NULL: none.
    merged_ids pg_catalog.int8[],
    record pg_catalog.json,
    PRIMARY KEY (id),
    CONSTRAINT history_kind_check CHECK (kind OPERATOR(pg_catalog.=) ANY ('{create,update,delete}'::pg_catalog.text[]))
) USING heap WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000);
COMMENT ON TABLE sequin.history IS 'inner table of the outbox: settled records; read sequin.delivered instead';
CREATE INDEX history_by_time ON sequin.history (delivered_at);
-- From the highest and the lowest merged id, sequin_sent_with finds the row that stands for a change.
CREATE INDEX history_merged ON sequin.history
    ((merged_ids[pg_catalog.cardinality(merged_ids)]), (merged_ids[1])) WHERE merged_ids IS NOT NULL;

CREATE TABLE sequin.pending_upstream_ids (
    id pg_catalog.int8 PRIMARY KEY,
    server pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
    relation pg_catalog.regclass NOT NULL,
    ordering_key pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
    upstream_id pg_catalog.text NOT NULL,
    error pg_catalog.text,
    -- Attempts in a row that have failed or never ended, and the time of the next one. NULL: now.
    attempts pg_catalog.int4 NOT NULL DEFAULT 0,
    next_attempt_at timestamp with time zone,
    -- The role of the create, whose members see this row. Retention may have deleted the create from the history.
    role pg_catalog.regrole NOT NULL,
    -- The last visit wrote no row of the table: all its rows wait for the next attempt of this one.
    holds_table pg_catalog.bool NOT NULL DEFAULT false
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
COMMENT ON TABLE sequin.pending_upstream_ids IS
    'inner table of the outbox: upstream ids that are not in their rows yet';
CREATE INDEX pending_upstream_ids_by_row ON sequin.pending_upstream_ids (pg_catalog.hashtextextended(ordering_key, 0), relation);
CREATE INDEX pending_upstream_ids_holding ON sequin.pending_upstream_ids (relation) WHERE holds_table;
CREATE INDEX pending_upstream_ids_failed ON sequin.pending_upstream_ids (id) WHERE error IS NOT NULL;

-- Role 0 stands for all roles.
CREATE TABLE sequin.pauses (
    server pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
    role pg_catalog.oid NOT NULL,
    reason pg_catalog.text NOT NULL,
    -- Versions of the server and the user mapping when a worker paused the role: a change of them ends the pause.
    -- NULL: sequin_pause made it.
    setup pg_catalog.text,
    since timestamp with time zone NOT NULL,
    PRIMARY KEY (server, role)
);
COMMENT ON TABLE sequin.pauses IS
    'inner table of the outbox: queues that wait for sequin_resume or a changed server or user mapping; read sequin.status instead';

CREATE TABLE sequin.holds (
    server pg_catalog.text COLLATE pg_catalog."C" PRIMARY KEY,
    below pg_catalog.int8 NOT NULL,
    reason pg_catalog.text NOT NULL,
    since timestamp with time zone NOT NULL
);
COMMENT ON TABLE sequin.holds IS
    'inner table of the outbox: per server, records below this id wait for sequin_resume; read sequin.outbox instead';

CREATE TABLE sequin.server_backoff (
    server pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
    -- server: all its requests wait; creates: its creates; caller: the requests of a role for a sync.
    scope pg_catalog.text NOT NULL,
    -- 0 and empty, except for a caller.
    role pg_catalog.oid NOT NULL,
    sync_id pg_catalog.text NOT NULL,
    -- Backoffs in a row. Once the time is over, one request at a time is sent until one is answered.
    attempts pg_catalog.int4 NOT NULL,
    error pg_catalog.text NOT NULL,
    since timestamp with time zone NOT NULL,
    next_attempt_at timestamp with time zone NOT NULL,
    PRIMARY KEY (server, scope, role, sync_id),
    CONSTRAINT server_backoff_scope_check
        CHECK (scope OPERATOR(pg_catalog.=) ANY ('{server,creates,caller}'::pg_catalog.text[]))
);
COMMENT ON TABLE sequin.server_backoff IS
    'inner table of the outbox: servers that fail, cannot be reached or limit the rate, and when to try again; read sequin.status instead';

CREATE TABLE sequin.origin (
    system_identifier pg_catalog.int8 NOT NULL,
    database pg_catalog.oid NOT NULL,
    PRIMARY KEY (system_identifier, database)
);
COMMENT ON TABLE sequin.origin IS
    'inner table of the outbox: the identity of its database; a copy of the database holds older records until sequin_resume';

-- One row for each session, so that no session waits for another. Dumps leave this table out, and rows of other
-- databases are ignored.
CREATE TABLE sequin.first_ids (
    system_identifier pg_catalog.int8 NOT NULL,
    database pg_catalog.oid NOT NULL,
    id pg_catalog.int8 NOT NULL,
    PRIMARY KEY (system_identifier, database, id)
);
COMMENT ON TABLE sequin.first_ids IS
    'inner table of the outbox: the first id that each session enqueued in a database made from a template';

-- Restoring a dump adds the row of the dumped database.
INSERT INTO sequin.origin
    SELECT c.system_identifier, d.oid
    FROM pg_catalog.pg_control_system() AS c, pg_catalog.pg_database AS d
    WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database();

-- A dump holds the records that the dumping role sees in the views: all for a superuser, its own for another role.
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
COMMENT ON FUNCTION sequin.workers() IS 'the process id of this database''s worker, if it has one';

CREATE FUNCTION sequin.is_served() RETURNS pg_catalog.bool
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'is_served_wrapper';
COMMENT ON FUNCTION sequin.is_served() IS 'whether this database has a worker, or gets one when there is work';

CREATE VIEW sequin.outbox WITH (security_barrier) AS
    SELECT
        open.id, open.key, open.server, open.role, open.kind, open.sync_id, open.collection_id, open.ordering_key,
        open.upstream_id,
        -- A queued delete keeps digests of the row's fields, in case the row comes back. They are not sent.
        CASE WHEN open.kind OPERATOR(pg_catalog.<>) 'delete' THEN open.data END AS data,
        CASE WHEN claimed.id IS NULL THEN open.state ELSE 'sending' END AS state,
        -- Inside, infinity stands for "no time is set". Not every driver can read it.
        open.attempts, NULLIF(open.next_attempt_at, 'infinity') AS next_attempt_at, open.enqueued_at, open.outcome,
        CASE WHEN open.state OPERATOR(pg_catalog.<>) 'pending' OR claimed.id IS NOT NULL THEN open.error
            ELSE COALESCE(
                CASE WHEN open.id OPERATOR(pg_catalog.<) held.below THEN held.reason END,
                paused.reason,
                CASE WHEN open.next_attempt_at OPERATOR(pg_catalog.=) 'infinity' THEN (
                    SELECT pg_catalog.concat(
                        'waits for record ', b.id, ' of its ordering key, which is ',
                        CASE WHEN b.state OPERATOR(pg_catalog.<>) 'pending' THEN b.state
                            WHEN EXISTS (
                                SELECT FROM sequin.pauses AS p WHERE p.server OPERATOR(pg_catalog.=) b.server
                                    AND p.role OPERATOR(pg_catalog.=) b.role
                            ) THEN 'of a paused role'
                            ELSE 'not delivered yet' END
                    )
                    FROM sequin.deferred AS b
                    WHERE b.server OPERATOR(pg_catalog.=) open.server
                        AND pg_catalog.hashtextextended(b.ordering_key, 0)
                            OPERATOR(pg_catalog.=) pg_catalog.hashtextextended(open.ordering_key, 0)
                        AND b.ordering_key OPERATOR(pg_catalog.=) open.ordering_key
                        AND b.collection_id OPERATOR(pg_catalog.=) open.collection_id
                        AND COALESCE(b.relation::pg_catalog.oid, 0) OPERATOR(pg_catalog.=)
                            COALESCE(open.relation::pg_catalog.oid, 0)
                        AND b.id OPERATOR(pg_catalog.<) open.id AND b.state OPERATOR(pg_catalog.<>) 'rejected'
                    ORDER BY b.id LIMIT 1
                ) END,
                open.error,
                limited.error
            ) END AS error,
        open.relation, open.await_consumers, open.timeout_ms, open.merged_ids
    FROM (
        SELECT
            q.server, q.id, q.key, q.role, q.kind, q.sync_id, q.collection_id, q.await_consumers, q.timeout_ms,
            q.relation, q.ordering_key, q.upstream_id, q.data, q.enqueued_at, 'pending'::pg_catalog.text AS state,
            0 AS attempts, q.enqueued_at AS next_attempt_at, NULL::pg_catalog.text AS outcome,
            NULL::pg_catalog.text AS error, NULL::pg_catalog.int8[] AS merged_ids
        FROM sequin.queue AS q
        UNION ALL
        SELECT
            p.server, p.id, p.key, p.role, p.kind, p.sync_id, p.collection_id, p.await_consumers, p.timeout_ms,
            p.relation, p.ordering_key, p.upstream_id, p.data, p.enqueued_at, p.state, p.attempts, p.next_attempt_at,
            p.outcome, p.error, p.merged_ids
        FROM sequin.deferred AS p
    ) AS open
    LEFT JOIN (SELECT pg_catalog.unnest(c.ids) AS id FROM sequin.claims AS c) AS claimed
        ON claimed.id OPERATOR(pg_catalog.=) open.id
    LEFT JOIN sequin.holds AS held ON held.server OPERATOR(pg_catalog.=) open.server
    LEFT JOIN sequin.pauses AS paused
        ON paused.server OPERATOR(pg_catalog.=) open.server AND paused.role OPERATOR(pg_catalog.=) open.role
    LEFT JOIN sequin.server_backoff AS limited
        ON limited.server OPERATOR(pg_catalog.=) open.server AND limited.scope OPERATOR(pg_catalog.=) 'caller'
        AND limited.role OPERATOR(pg_catalog.=) open.role AND limited.sync_id OPERATOR(pg_catalog.=) open.sync_id
    WHERE pg_catalog.pg_has_role(open.role, 'USAGE')
        OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE');
COMMENT ON VIEW sequin.outbox IS
    'the records that are not settled: those of the role, and of roles that it is a member of';
COMMENT ON COLUMN sequin.outbox.id IS 'the number that sequin_enqueue returned';
COMMENT ON COLUMN sequin.outbox.key IS 'the record''s idempotency key: the same in every attempt';
COMMENT ON COLUMN sequin.outbox.server IS 'the foreign server';
COMMENT ON COLUMN sequin.outbox.role IS 'the role that enqueued the record; its user mapping is used';
COMMENT ON COLUMN sequin.outbox.kind IS 'create, update or delete';
COMMENT ON COLUMN sequin.outbox.sync_id IS 'the sync that the record is sent with';
COMMENT ON COLUMN sequin.outbox.collection_id IS 'the collection, for example salesforce:contact';
COMMENT ON COLUMN sequin.outbox.ordering_key IS
    'records with the same key are delivered in order: the upstream id, the attached row''s primary key, or the argument of sequin_enqueue; NULL: in no order';
COMMENT ON COLUMN sequin.outbox.upstream_id IS 'the record''s id at the provider, once it is known';
COMMENT ON COLUMN sequin.outbox.data IS 'the fields that are sent; NULL for a delete';
COMMENT ON COLUMN sequin.outbox.state IS
    'pending: waits for its turn; sending: in flight; rejected: the API refuses the record, or handling it raised an error; unknown: a create that may have been applied';
COMMENT ON COLUMN sequin.outbox.attempts IS 'how many requests with the record have failed';
COMMENT ON COLUMN sequin.outbox.next_attempt_at IS
    'the next attempt is not before this time; NULL: no time is set, the record waits for another record, for the end of a pause or for a person';
COMMENT ON COLUMN sequin.outbox.enqueued_at IS 'when the transaction that enqueued the record began';
COMMENT ON COLUMN sequin.outbox.outcome IS 'of the last attempt, as in an error''s DETAIL';
COMMENT ON COLUMN sequin.outbox.error IS
    'the message of the API, the network or Postgres; or why the record waits: for sequin_resume, for a paused role, for another record of its key, or because its role makes too many requests';
COMMENT ON COLUMN sequin.outbox.relation IS 'the attached table that the record comes from';
COMMENT ON COLUMN sequin.outbox.await_consumers IS 'the consumers that its request waits for; NULL: none';
COMMENT ON COLUMN sequin.outbox.timeout_ms IS 'how long the API waits for the consumers; NULL: the API''s default';
COMMENT ON COLUMN sequin.outbox.merged_ids IS
    'of an unknown create, the ids of the changes that were sent with it, and that its row stands for; NULL: none';

CREATE VIEW sequin.dead_letters WITH (security_barrier) AS
    SELECT
        p.id, p.key, p.server, p.role, p.kind, p.sync_id, p.collection_id, p.ordering_key, p.upstream_id, p.data,
        p.state, p.attempts, NULLIF(p.next_attempt_at, 'infinity') AS next_attempt_at, p.enqueued_at, p.outcome, p.error,
        p.relation, p.await_consumers, p.timeout_ms, p.merged_ids
    -- A queued record was never tried and cannot be dead: this view does not read sequin.queue.
    FROM sequin.deferred AS p
    -- A rejected record may be in flight again, merged with a later change of its key.
    LEFT JOIN (SELECT pg_catalog.unnest(c.ids) AS id FROM sequin.claims AS c) AS claimed
        ON claimed.id OPERATOR(pg_catalog.=) p.id
    WHERE p.state OPERATOR(pg_catalog.<>) 'pending' AND claimed.id IS NULL
        AND (pg_catalog.pg_has_role(p.role, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE'));
COMMENT ON VIEW sequin.dead_letters IS
    'the records that wait for a person: sequin_retry(id), sequin_discard(id) or sequin_resolve(id, upstream_id)';
COMMENT ON COLUMN sequin.dead_letters.id IS 'the number that sequin_enqueue returned';
COMMENT ON COLUMN sequin.dead_letters.key IS 'the record''s idempotency key: the same in every attempt';
COMMENT ON COLUMN sequin.dead_letters.server IS 'the foreign server';
COMMENT ON COLUMN sequin.dead_letters.role IS 'the role that enqueued the record; its user mapping is used';
COMMENT ON COLUMN sequin.dead_letters.kind IS 'create, update or delete';
COMMENT ON COLUMN sequin.dead_letters.sync_id IS 'the sync that the record is sent with';
COMMENT ON COLUMN sequin.dead_letters.collection_id IS 'the collection, for example salesforce:contact';
COMMENT ON COLUMN sequin.dead_letters.ordering_key IS
    'records with the same key are delivered in order; NULL: in no order';
COMMENT ON COLUMN sequin.dead_letters.upstream_id IS 'the record''s id at the provider, once it is known';
COMMENT ON COLUMN sequin.dead_letters.data IS 'the fields that are sent; NULL for a delete';
COMMENT ON COLUMN sequin.dead_letters.state IS
    'rejected: the API refuses the record, or handling it raised an error; unknown: a create that may have been applied';
COMMENT ON COLUMN sequin.dead_letters.attempts IS 'how many requests with the record have failed';
COMMENT ON COLUMN sequin.dead_letters.next_attempt_at IS 'NULL: no worker sends the record again without sequin_retry';
COMMENT ON COLUMN sequin.dead_letters.enqueued_at IS 'when the transaction that enqueued the record began';
COMMENT ON COLUMN sequin.dead_letters.outcome IS 'of the last attempt, as in an error''s DETAIL';
COMMENT ON COLUMN sequin.dead_letters.error IS 'the message of the API, the network or Postgres';
COMMENT ON COLUMN sequin.dead_letters.relation IS 'the attached table that the record comes from';
COMMENT ON COLUMN sequin.dead_letters.await_consumers IS 'the consumers that its request waits for; NULL: none';
COMMENT ON COLUMN sequin.dead_letters.timeout_ms IS
    'how long the API waits for the consumers; NULL: the API''s default';
COMMENT ON COLUMN sequin.dead_letters.merged_ids IS
    'of an unknown create, the ids of the changes that were sent with it, and that its row stands for; NULL: none';

CREATE VIEW sequin.delivered WITH (security_barrier) AS
    SELECT
        h.id, h.key, h.server, h.role, h.kind, h.sync_id, h.collection_id, h.ordering_key, h.upstream_id, h.data,
        h.enqueued_at, h.delivered_at, h.outcome, h.merged_ids, h.record, h.relation,
        CASE WHEN c.id IS NULL THEN NULL WHEN c.error IS NULL THEN 'waiting' ELSE 'failed' END AS write_back,
        c.error AS write_back_error
    FROM sequin.history AS h
    LEFT JOIN sequin.pending_upstream_ids AS c ON c.id OPERATOR(pg_catalog.=) h.id
    WHERE pg_catalog.pg_has_role(h.role, 'USAGE')
        OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE');
COMMENT ON VIEW sequin.delivered IS
    'settled records, kept for as long as the setting sequin.retention says; merged changes are one row, which sequin_sent_with finds';
COMMENT ON COLUMN sequin.delivered.id IS 'the number that sequin_enqueue returned';
COMMENT ON COLUMN sequin.delivered.key IS 'the record''s idempotency key';
COMMENT ON COLUMN sequin.delivered.server IS 'the foreign server';
COMMENT ON COLUMN sequin.delivered.role IS 'the role that enqueued the record';
COMMENT ON COLUMN sequin.delivered.kind IS 'create, update or delete';
COMMENT ON COLUMN sequin.delivered.sync_id IS 'the sync that the record was sent with';
COMMENT ON COLUMN sequin.delivered.collection_id IS 'the collection, for example salesforce:contact';
COMMENT ON COLUMN sequin.delivered.ordering_key IS
    'records with the same key were delivered in order; NULL: in no order';
COMMENT ON COLUMN sequin.delivered.upstream_id IS 'the record''s id at the provider';
COMMENT ON COLUMN sequin.delivered.data IS
    'the fields that were sent, with those of the merged changes; NULL for a delete';
COMMENT ON COLUMN sequin.delivered.enqueued_at IS
    'when the transaction that enqueued the record began, or the first of the changes that the row stands for';
COMMENT ON COLUMN sequin.delivered.delivered_at IS 'when the record was settled';
COMMENT ON COLUMN sequin.delivered.outcome IS
    'applied, applied_reply_lost, applied_not_confirmed; cancelled_out: created and deleted before it was sent; nothing_to_send; discarded or resolved by a person';
COMMENT ON COLUMN sequin.delivered.merged_ids IS
    'the ids of the changes that were merged into this one, and that its row stands for; of a delete, the updates that it superseded; NULL: none';
COMMENT ON COLUMN sequin.delivered.record IS 'the record as the API replied with it; NULL if the reply was lost';
COMMENT ON COLUMN sequin.delivered.relation IS 'the attached table that the record comes from';
COMMENT ON COLUMN sequin.delivered.write_back IS
    'the write-back of a create''s upstream id into its row; waiting: not attempted yet; failed: the last attempt failed, and is repeated; NULL: no write-back is open';
COMMENT ON COLUMN sequin.delivered.write_back_error IS 'why the last attempt of the write-back failed';

-- A count of all rows would take seconds. The function reads a bounded part of each table, and what the worker says.
CREATE FUNCTION sequin.server_status() RETURNS TABLE(
    server pg_catalog.text,
    backlog pg_catalog.int8,
    oldest timestamp with time zone,
    records_per_second pg_catalog.float8,
    rejected pg_catalog.int8,
    unknown pg_catalog.int8,
    write_backs pg_catalog.int8,
    write_back_error pg_catalog.text,
    in_flight pg_catalog.int8,
    is_estimate pg_catalog.bool
)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'server_status_wrapper';
COMMENT ON FUNCTION sequin.server_status() IS
    'the numbers of sequin.status, of the servers and records that the role may see';

CREATE VIEW sequin.status WITH (security_barrier) AS
    SELECT
        n.server,
        n.backlog,
        pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) n.oldest AS oldest_age,
        n.records_per_second,
        p.reasons IS NOT NULL AS paused,
        COALESCE(p.reasons, t.error, h.reason) AS last_error,
        t.next_attempt_at,
        n.rejected,
        n.unknown,
        sequin.is_served() AS worker_alive,
        n.write_backs,
        n.write_back_error,
        n.in_flight,
        n.is_estimate
    FROM sequin.server_status() AS n
    LEFT JOIN (
        SELECT q.server, pg_catalog.string_agg(q.reason, '; ' ORDER BY q.role) AS reasons
        FROM sequin.pauses AS q
        WHERE q.role OPERATOR(pg_catalog.=) 0::pg_catalog.oid
            OR pg_catalog.pg_has_role(q.role, 'USAGE')
            OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE')
        GROUP BY q.server
    ) AS p ON p.server OPERATOR(pg_catalog.=) n.server
    LEFT JOIN (
        SELECT
            o.server,
            COALESCE(
                pg_catalog.max(o.error) FILTER (WHERE o.scope OPERATOR(pg_catalog.=) 'server'),
                pg_catalog.string_agg(
                    CASE o.scope WHEN 'creates' THEN pg_catalog.concat('creates wait: ', o.error)
                        ELSE pg_catalog.format('role %s, sync %s: %s', o.role::pg_catalog.regrole, o.sync_id, o.error) END,
                    '; ' ORDER BY o.scope DESC, o.role, o.sync_id
                )
            ) AS error,
            -- The earliest that is still to come, or the last.
            COALESCE(
                pg_catalog.min(o.next_attempt_at) FILTER (
                    WHERE o.next_attempt_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()
                ),
                pg_catalog.max(o.next_attempt_at)
            ) AS next_attempt_at
        FROM sequin.server_backoff AS o
        WHERE o.scope OPERATOR(pg_catalog.<>) 'caller'
            OR pg_catalog.pg_has_role(o.role, 'USAGE')
            OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE')
        GROUP BY o.server
    ) AS t ON t.server OPERATOR(pg_catalog.=) n.server
    LEFT JOIN sequin.holds AS h ON h.server OPERATOR(pg_catalog.=) n.server;
COMMENT ON VIEW sequin.status IS
    'the outbox of each server that the role may use or has records for, counting the records that it may see';
COMMENT ON COLUMN sequin.status.server IS 'the foreign server';
COMMENT ON COLUMN sequin.status.backlog IS 'records that are not delivered';
COMMENT ON COLUMN sequin.status.oldest_age IS 'how long the oldest of them has waited; NULL: there are none';
COMMENT ON COLUMN sequin.status.records_per_second IS
    'records delivered per second, of all roles, over the last ten seconds';
COMMENT ON COLUMN sequin.status.paused IS 'whether the server waits for sequin_resume, for at least one role';
COMMENT ON COLUMN sequin.status.last_error IS
    'why the server is paused or in backoff, or else its creates or a role''s sync; NULL: there is no such error';
COMMENT ON COLUMN sequin.status.next_attempt_at IS
    'when the server, its creates, or a role''s sync is tried again after an error; NULL: there was none';
COMMENT ON COLUMN sequin.status.rejected IS 'records that the API refuses';
COMMENT ON COLUMN sequin.status.unknown IS 'creates that may or may not have been applied';
COMMENT ON COLUMN sequin.status.worker_alive IS 'whether this database has a worker, or gets one when there is work';
COMMENT ON COLUMN sequin.status.write_backs IS
    'open write-backs: upstream ids that are not in their rows yet; the column write_back of sequin.delivered shows them';
COMMENT ON COLUMN sequin.status.write_back_error IS
    'why the last failed write-back failed; NULL: none has failed';
COMMENT ON COLUMN sequin.status.in_flight IS 'requests in flight, of all roles';
COMMENT ON COLUMN sequin.status.is_estimate IS
    'more than 1,000 records of the server are queued, deferred or waiting for their write-back: their number is an estimate';

-- Counters in shared memory. The function returns what the current role may see.

CREATE FUNCTION sequin.server_statistics() RETURNS TABLE(
    database pg_catalog.oid,
    server pg_catalog.oid,
    stats_reset timestamp with time zone,
    calls pg_catalog.int8[],
    call_waits pg_catalog.int8[],
    outbox pg_catalog.int8[],
    outbox_waits pg_catalog.int8[]
)
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'server_statistics_wrapper';
COMMENT ON FUNCTION sequin.server_statistics() IS
    'the counters of sequin.stat_servers, of the servers that the role may see';

CREATE VIEW sequin.stat_servers AS
    SELECT
        s.srvname::pg_catalog.text AS server,
        d.datname::pg_catalog.text AS database,
        n.calls[1] AS call_requests,
        n.calls[2] AS call_records,
        n.calls[3] AS call_applied,
        n.calls[4] AS call_applied_reply_lost,
        n.calls[5] AS call_applied_not_confirmed,
        n.calls[6] AS call_rejected,
        n.calls[7] AS call_refused,
        n.calls[8] AS call_refused_for_now,
        n.calls[9] AS call_not_sent,
        n.calls[10] AS call_unknown,
        n.calls[11] AS call_bytes_sent,
        n.calls[12] AS call_bytes_received,
        n.calls[13]::pg_catalog.float8 OPERATOR(pg_catalog./) 1000 AS call_wait_time,
        n.calls[14]::pg_catalog.float8 OPERATOR(pg_catalog./) 1000 AS call_max_wait_time,
        n.calls[15] AS call_connections,
        n.calls[16] AS call_cancels,
        n.call_waits AS call_wait_histogram,
        n.outbox[1] AS outbox_requests,
        n.outbox[2] AS outbox_records,
        n.outbox[3] AS outbox_applied,
        n.outbox[4] AS outbox_applied_reply_lost,
        n.outbox[5] AS outbox_applied_not_confirmed,
        n.outbox[6] AS outbox_rejected,
        n.outbox[7] AS outbox_refused,
        n.outbox[8] AS outbox_refused_for_now,
        n.outbox[9] AS outbox_not_sent,
        n.outbox[10] AS outbox_unknown,
        n.outbox[11] AS outbox_bytes_sent,
        n.outbox[12] AS outbox_bytes_received,
        n.outbox[13]::pg_catalog.float8 OPERATOR(pg_catalog./) 1000 AS outbox_wait_time,
        n.outbox[14]::pg_catalog.float8 OPERATOR(pg_catalog./) 1000 AS outbox_max_wait_time,
        n.outbox[15] AS outbox_connections,
        n.outbox[16] AS outbox_cancels,
        n.outbox_waits AS outbox_wait_histogram,
        n.stats_reset
    FROM sequin.server_statistics() AS n
    LEFT JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) n.database
    LEFT JOIN pg_catalog.pg_foreign_server AS s
        ON s.oid OPERATOR(pg_catalog.=) n.server AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database();
COMMENT ON VIEW sequin.stat_servers IS
    'counters of the requests to each server since stats_reset: call_* of statements that waited, outbox_* of the worker; a role sees the servers that it may use';
COMMENT ON COLUMN sequin.stat_servers.server IS
    'the foreign server; NULL: a server of another database, or without a database the servers for which there was no room';
COMMENT ON COLUMN sequin.stat_servers.database IS
    'the database of the server; NULL: the counters of all servers for which there was no room';
COMMENT ON COLUMN sequin.stat_servers.call_requests IS
    'of calls: requests';
COMMENT ON COLUMN sequin.stat_servers.call_records IS
    'of calls: records of these requests';
COMMENT ON COLUMN sequin.stat_servers.call_applied IS
    'of calls: requests that were applied';
COMMENT ON COLUMN sequin.stat_servers.call_applied_reply_lost IS
    'of calls: requests that were applied, without a usable reply';
COMMENT ON COLUMN sequin.stat_servers.call_applied_not_confirmed IS
    'of calls: requests that were applied, and whose consumers did not confirm in time';
COMMENT ON COLUMN sequin.stat_servers.call_rejected IS
    'of calls: requests of which the API refused a record';
COMMENT ON COLUMN sequin.stat_servers.call_refused IS
    'of calls: requests whose token or address the API refused';
COMMENT ON COLUMN sequin.stat_servers.call_refused_for_now IS
    'of calls: requests that the API asked to repeat later';
COMMENT ON COLUMN sequin.stat_servers.call_not_sent IS
    'of calls: requests of which no byte was sent';
COMMENT ON COLUMN sequin.stat_servers.call_unknown IS
    'of calls: requests that may have been applied';
COMMENT ON COLUMN sequin.stat_servers.call_bytes_sent IS
    'of calls: bytes of the requests';
COMMENT ON COLUMN sequin.stat_servers.call_bytes_received IS
    'of calls: bytes of the replies';
COMMENT ON COLUMN sequin.stat_servers.call_wait_time IS
    'of calls: time spent waiting for connections and replies, in milliseconds';
COMMENT ON COLUMN sequin.stat_servers.call_max_wait_time IS
    'of calls: longest wait of one request, in milliseconds';
COMMENT ON COLUMN sequin.stat_servers.call_connections IS
    'of calls: connections that were opened';
COMMENT ON COLUMN sequin.stat_servers.call_cancels IS
    'of calls: requests that a cancel, a time-out of the statement or the end of the process interrupted; an outcome counts them too';
COMMENT ON COLUMN sequin.stat_servers.call_wait_histogram IS
    'of calls: requests by their wait; the first element counts waits below 0.125 ms, each next bound is twice as long, the twentieth element has no bound';
COMMENT ON COLUMN sequin.stat_servers.outbox_requests IS
    'of the worker: requests';
COMMENT ON COLUMN sequin.stat_servers.outbox_records IS
    'of the worker: records of these requests';
COMMENT ON COLUMN sequin.stat_servers.outbox_applied IS
    'of the worker: requests that were applied';
COMMENT ON COLUMN sequin.stat_servers.outbox_applied_reply_lost IS
    'of the worker: requests that were applied, without a usable reply';
COMMENT ON COLUMN sequin.stat_servers.outbox_applied_not_confirmed IS
    'of the worker: requests that were applied, and whose consumers did not confirm in time';
COMMENT ON COLUMN sequin.stat_servers.outbox_rejected IS
    'of the worker: requests of which the API refused a record';
COMMENT ON COLUMN sequin.stat_servers.outbox_refused IS
    'of the worker: requests whose token or address the API refused';
COMMENT ON COLUMN sequin.stat_servers.outbox_refused_for_now IS
    'of the worker: requests that the API asked to repeat later';
COMMENT ON COLUMN sequin.stat_servers.outbox_not_sent IS
    'of the worker: requests of which no byte was sent';
COMMENT ON COLUMN sequin.stat_servers.outbox_unknown IS
    'of the worker: requests that may have been applied';
COMMENT ON COLUMN sequin.stat_servers.outbox_bytes_sent IS
    'of the worker: bytes of the requests';
COMMENT ON COLUMN sequin.stat_servers.outbox_bytes_received IS
    'of the worker: bytes of the replies';
COMMENT ON COLUMN sequin.stat_servers.outbox_wait_time IS
    'of the worker: time spent waiting for connections and replies, in milliseconds';
COMMENT ON COLUMN sequin.stat_servers.outbox_max_wait_time IS
    'of the worker: longest wait of one request, in milliseconds';
COMMENT ON COLUMN sequin.stat_servers.outbox_connections IS
    'of the worker: connections that were opened';
COMMENT ON COLUMN sequin.stat_servers.outbox_cancels IS
    'of the worker: requests that a cancel, a time-out of the statement or the end of the process interrupted; an outcome counts them too';
COMMENT ON COLUMN sequin.stat_servers.outbox_wait_histogram IS
    'of the worker: requests by their wait; the first element counts waits below 0.125 ms, each next bound is twice as long, the twentieth element has no bound';
COMMENT ON COLUMN sequin.stat_servers.stats_reset IS
    'since when the row counts: the last sequin_stat_reset, or the first request since the Postgres server started or crashed';

CREATE FUNCTION @extschema@.sequin_stat_reset() RETURNS pg_catalog.void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'sequin_stat_reset_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_stat_reset() IS
    'sets the counters of this database in sequin.stat_servers to zero, and the row without a database';

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
    'sends a record of the outbox again, at once; for an unknown create this can make a second record upstream';

CREATE FUNCTION @extschema@.sequin_discard(id pg_catalog.int8) RETURNS pg_catalog.void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'sequin_discard_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_discard(pg_catalog.int8) IS
    'removes a record from the outbox without sending it, and frees the records that wait behind it';

CREATE FUNCTION @extschema@.sequin_resolve(id pg_catalog.int8, upstream_id pg_catalog.text) RETURNS pg_catalog.void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'sequin_resolve_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_resolve(pg_catalog.int8, pg_catalog.text) IS
    'marks an unknown create as applied under this upstream id, and frees the records that wait behind it';

CREATE FUNCTION @extschema@.sequin_pause(server pg_catalog.name) RETURNS pg_catalog.void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'sequin_pause_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_pause(pg_catalog.name) IS
    'stops the delivery of a server''s outbox until sequin_resume; enqueuing goes on';

CREATE FUNCTION @extschema@.sequin_resume(server pg_catalog.name) RETURNS pg_catalog.void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'sequin_resume_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_resume(pg_catalog.name) IS
    'ends every pause and every wait of a server''s outbox, and sends the records that a copy of the database holds';

CREATE FUNCTION @extschema@.sequin_await_delivery(
    ids pg_catalog.int8[],
    timeout_ms pg_catalog.int4 DEFAULT NULL
) RETURNS pg_catalog.bool
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'sequin_await_delivery_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_await_delivery(pg_catalog.int8[], pg_catalog.int4) IS
    'waits until the records are delivered, and the upstream ids of creates are in their rows; true: all are, false: one is rejected or unknown, NULL: one was still open at the time-out';

CREATE FUNCTION @extschema@.sequin_sent_with(id pg_catalog.int8) RETURNS pg_catalog.int8
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'sequin_sent_with_wrapper';
COMMENT ON FUNCTION @extschema@.sequin_sent_with(pg_catalog.int8) IS
    'the record whose row in sequin.outbox or sequin.delivered stands for this one: itself, or the record that it was merged into; NULL: there is none';

-- ALTER SERVER ... RENAME: attached tables and the outbox hold the server's name.

CREATE FUNCTION sequin.follow_rename() RETURNS event_trigger
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'follow_rename_wrapper';
COMMENT ON FUNCTION sequin.follow_rename() IS
    'event trigger function: writes a foreign server''s new name into attached tables and the outbox';

CREATE EVENT TRIGGER sequin_follow_rename ON ddl_command_end
    WHEN TAG IN ('ALTER SERVER')
    EXECUTE FUNCTION sequin.follow_rename();
COMMENT ON EVENT TRIGGER sequin_follow_rename IS
    'lets attached tables and the outbox follow ALTER SERVER ... RENAME; ignores servers of other wrappers';

-- These functions send requests or decide what is sent. A role calls them only after an explicit GRANT.
REVOKE EXECUTE ON FUNCTION
    sequin.validate_options(pg_catalog.text[], pg_catalog.oid),
    sequin.plan_calls(internal),
    sequin.capture(),
    sequin.end_statement(),
    sequin.refuse_truncate(),
    sequin.follow_rename(),
    sequin.is_attachment(pg_catalog.bytea),
    sequin.workers(),
    sequin.is_served(),
    sequin.server_status(),
    sequin.server_statistics(),
    @extschema@.sequin_stat_reset(),
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
    @extschema@.sequin_sent_with(pg_catalog.int8),
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

GRANT USAGE ON SCHEMA sequin TO PUBLIC;
-- For pg_dump by the owner of the database: it locks each table whose rows it dumps, and reads the sequence even for
-- --schema-only.
GRANT SELECT ON SEQUENCE sequin.outbox_id TO pg_database_owner;
GRANT SELECT ON
    sequin.queue, sequin.deferred, sequin.claims, sequin.pending_upstream_ids, sequin.pauses, sequin.holds, sequin.origin
TO pg_database_owner;
-- Attachments are in pg_trigger, which each role can read. The other views show a role its own rows.
GRANT SELECT ON sequin.attachments, sequin.outbox, sequin.dead_letters, sequin.delivered, sequin.status,
    sequin.stat_servers TO PUBLIC;
-- The views sequin.status, sequin.stat_servers and sequin.attachments call them.
GRANT EXECUTE ON FUNCTION
    sequin.is_served(), sequin.server_status(), sequin.server_statistics(), sequin.is_attachment(pg_catalog.bytea)
TO PUBLIC;
-- For who reads those views: it finds the rows that the role may see.
GRANT EXECUTE ON FUNCTION @extschema@.sequin_sent_with(pg_catalog.int8) TO PUBLIC;
