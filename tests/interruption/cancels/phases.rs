//! The phases in which a call is interrupted: a statement that spends most of its time in its phase, and the expected
//! report of its error.

use super::reported::Reported;

/// Where a call spends its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    LookUp,
    Connect,
    Handshake,
    Send,
    TlsSend,
    Wait,
    TlsWait,
    Body,
    TlsBody,
    /// Making rows of a reply with many records.
    Rows,
    /// One call after another in PL/pgSQL, with other work between them.
    Loop,
    /// The same with each call in a block that catches a cancel, which is a subtransaction.
    Block,
    /// The statement trigger of a table that is attached inline: several requests.
    Trigger,
    /// sequin_await_delivery
    Await,
}

/// More than the buffers between a sending client and an API that does not read.
pub const LARGE_BYTES: usize = 4 << 20;

/// Rows of the statement that fires the trigger, and how many of them make a request.
pub const TRIGGER_ROWS: i64 = 20;
pub const TRIGGER_BATCH: i64 = 5;

impl Phase {
    /// The prefix of its records' names, by which the APIs choose their behaviour.
    pub fn tag(self) -> &'static str {
        match self {
            Phase::LookUp => "lookup",
            Phase::Connect => "connect",
            Phase::Handshake => "handshake",
            Phase::Send => "send",
            Phase::TlsSend => "tlssend",
            Phase::Wait => "pause",
            Phase::TlsWait => "tlspause",
            Phase::Body => "drip",
            Phase::TlsBody => "tlsdrip",
            Phase::Rows => "rows",
            Phase::Loop => "loop",
            Phase::Block => "block",
            Phase::Trigger => "trigger",
            Phase::Await => "queued",
        }
    }

    /// The server object that leads there.
    pub fn server(self) -> &'static str {
        match self {
            Phase::LookUp => "look_up",
            Phase::Connect => "connect",
            Phase::Handshake => "handshake",
            Phase::Send => "send",
            Phase::TlsSend => "tls_send",
            Phase::TlsWait | Phase::TlsBody => "tls_api",
            Phase::Rows => "rows",
            Phase::Trigger => "batches",
            Phase::Wait | Phase::Body | Phase::Loop | Phase::Block | Phase::Await => "api",
        }
    }

    /// A statement that reaches the phase and continues after a while. `mark` names its records.
    pub fn statement(self, mark: &str, number: usize) -> String {
        let server = self.server();
        match self {
            Phase::Send | Phase::TlsSend => format!(
                "SELECT data->>'Name' FROM sequin_create('sync', 'salesforce:contact', \
                 jsonb_build_object('Name', '{mark}') || (SELECT data FROM large), server => '{server}')"
            ),
            // The head of the reply is soon there, and the body is not.
            Phase::Body | Phase::TlsBody => format!(
                "SELECT data->>'Name' FROM sequin_create('sync', 'salesforce:contact', \
                 jsonb_build_object('Name', '{mark}', 'Text', repeat('x', 1500)), server => '{server}')"
            ),
            Phase::Rows => format!(
                "SELECT min(data->>'Name') FROM sequin_mutate('create', 'sync', 'salesforce:contact', \
                 '{{\"data\": {{\"Name\": \"{mark}\"}}}}', server => '{server}')"
            ),
            Phase::Loop => format!("SELECT calls_in_a_loop('{mark}', 'calls_{number}')"),
            Phase::Block => format!("SELECT calls_in_blocks('{mark}', 'calls_{number}')"),
            Phase::Trigger => {
                format!("INSERT INTO people (name) SELECT '{mark}-' || i FROM generate_series(1, {TRIGGER_ROWS}) i")
            }
            Phase::Await => {
                format!("SELECT sequin_await_delivery((SELECT array_agg(id) FROM queued WHERE mark = '{mark}'), 10000)")
            }
            _ => small(server, mark),
        }
    }

    /// Its rows when nothing interrupts it.
    pub fn rows(self, mark: &str) -> Vec<String> {
        match self {
            Phase::Loop | Phase::Block => vec!["done".into()],
            Phase::Trigger => Vec::new(),
            Phase::Await => vec!["t".into()],
            _ => vec![mark.to_owned()],
        }
    }

    /// Whether its statement ends by an order only, or so late that it makes no difference.
    pub fn has_no_end(self) -> bool {
        matches!(self, Phase::Connect | Phase::Loop | Phase::Block)
    }

    /// Whether an error that claims this came from the phase, and not from the way there.
    pub fn is_reached(self, reported: Reported) -> bool {
        match self {
            Phase::LookUp | Phase::Connect | Phase::Handshake => reported == Reported::NotSent,
            Phase::Send | Phase::TlsSend | Phase::Wait | Phase::TlsWait => reported == Reported::Unknown,
            Phase::Body | Phase::TlsBody | Phase::Rows => reported == Reported::Applied,
            // Between two calls too.
            Phase::Loop | Phase::Block | Phase::Trigger | Phase::Await => true,
        }
    }
}

/// A create of one record with this name, through any server. Returns the name that comes back.
pub fn small(server: &str, mark: &str) -> String {
    format!(
        "SELECT data->>'Name' FROM sequin_create('sync', 'salesforce:contact', \
         jsonb_build_object('Name', '{mark}'), server => '{server}')"
    )
}

/// The objects that the statements need in their database, besides the server objects. The sequences count returned
/// calls, because a rollback does not reset them.
pub fn schema(all_series: usize) -> String {
    let call =
        "sequin_create('sync', 'salesforce:contact', jsonb_build_object('Name', mark || '-' || i), server => 'api')";
    let sequences: String = (0..all_series).map(|number| format!("CREATE SEQUENCE calls_{number};")).collect();
    format!(
        "{sequences}
         CREATE TABLE large (data jsonb);
         ALTER TABLE large ALTER data SET STORAGE EXTERNAL;
         INSERT INTO large VALUES (jsonb_build_object('Text', repeat('x', {LARGE_BYTES})));
         CREATE TABLE queued (id bigint PRIMARY KEY, mark text);
         CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, contact_id text);
         SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'contact_id', '{{\"name\": \"Name\"}}', 'inline',
             server => 'batches');
         CREATE FUNCTION calls_in_a_loop(mark text, counter regclass) RETURNS text LANGUAGE plpgsql AS $$
         DECLARE r sequin_record;
         BEGIN
             FOR i IN 1..500 LOOP
                 r := {call};
                 PERFORM setval(counter, i);
                 PERFORM count(*) FROM generate_series(1, 3000);
             END LOOP;
             RETURN 'done';
         END $$;
         CREATE FUNCTION calls_in_blocks(mark text, counter regclass) RETURNS text LANGUAGE plpgsql AS $$
         DECLARE r sequin_record; context text; i text;
         BEGIN
             FOR n IN 1..500 LOOP
                 i := n;
                 BEGIN
                     r := {call};
                     PERFORM setval(counter, n);
                     PERFORM count(*) FROM generate_series(1, 1000);
                 EXCEPTION WHEN query_canceled THEN
                     GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
                     i := 'again';
                     r := {call};
                     IF r.data->>'Name' IS DISTINCT FROM mark || '-again' THEN
                         RAISE 'the next call in the transaction returned %', r;
                     END IF;
                     RETURN context;
                 END;
             END LOOP;
             RETURN 'done';
         END $$"
    )
}
