//! The same work with the extension `http` (pgsql-http): SQL builds the body, posts it and parses the reply.
//!
//! The comparison favours it: it keeps its connection. Its users must add outcomes, checks and a secret token
//! themselves.

use postgres::Client;
use sequin_harness::Database;

use crate::Result;
use crate::api::FixedApi;
use crate::looped::{self, Loop};
use crate::many_records::{self, Case};
use crate::one_record;
use crate::options::Options;
use crate::payload;
use crate::raw::RawClient;

/// A reply's records as rows with the columns of sequin_record that the API gives.
const RECORDSET: &str = "LATERAL jsonb_to_recordset(h.content::jsonb->'records') AS m(id text, sync_id text, \
    collection_id text, upstream_id text, upstream_created_at timestamptz, upstream_updated_at timestamptz, \
    inserted_at timestamptz, updated_idx bigint, deleted boolean, data jsonb)";

const SEQUIN: &str = "sequin_mutate('create', 'bench', 'salesforce:contact', argument) AS m";

pub fn run(options: &Options) -> Result<()> {
    let database = Database::fresh();
    let available = "SELECT count(*) FROM pg_available_extensions WHERE name = 'http'";
    if database.connect().query_one(available, &[])?.get::<_, i64>(0) == 0 {
        println!("\nneighbours: not measured: the extension http (pgsql-http) is not installed in this Postgres.");
        return Ok(());
    }
    database.execute("CREATE EXTENSION http");
    one(&database, options)?;
    many(&database, options)
}

fn one(database: &Database, options: &Options) -> Result<()> {
    let calls = options.count(4000, 400);
    let mut table =
        one_record::new_table(&format!("neighbours: one record, {calls} calls a run in a PL/pgSQL loop, microseconds"));
    let api = FixedApi::start(&payload::small_reply());
    database.create_server_named("one", &api.url(), "bench");
    let create = "r := sequin_create('bench', 'salesforce:contact', d, server => 'one')".to_owned();
    let post = format!(
        "SELECT m.* INTO r FROM {}, {RECORDSET}",
        post(&api, "jsonb_build_array(jsonb_build_object('data', d))")
    );
    for (name, variable, statement) in [("sequin_create", "r sequin_record;", create), ("http", "r record;", post)] {
        let mut sql = Loop::new(session(database)?, variable, &statement)?;
        let raw = || RawClient::connect(api.address(), api.first_request());
        one_record::report(&mut table, name, &looped::beside_raw(&mut sql, raw, options, calls)?, None);
    }
    table.print();
    Ok(())
}

fn many(database: &Database, options: &Options) -> Result<()> {
    let count = 10_000;
    let api = FixedApi::start(&payload::reply(count));
    database.create_server(&api.url(), "bench");
    let http = format!("{}, {RECORDSET}", post(&api, "argument"));
    let case = |name, from| Case { name, from, result: many_records::READ, goals: false };
    // The extension first: the control repeats the first request that the API sees.
    let cases = [case("sequin_mutate", SEQUIN), case("http", &http)];
    let mut table = many_records::new_table("neighbours: many records, data read, milliseconds a call");
    many_records::measure(&mut table, session(database)?, &api, &cases, count, options)?;
    table.print();
    Ok(())
}

/// A FROM item with the reply of a create of `records`.
fn post(api: &FixedApi, records: &str) -> String {
    format!(
        "http(('POST', '{}/v1/mutations/run', ARRAY[http_header('authorization', 'Bearer bench')], 'application/json', \
         jsonb_build_object('kind', 'create', 'sync_id', 'bench', 'collection_id', 'salesforce:contact', 'records', \
         {records})::text)::http_request) AS h",
        api.url()
    )
}

/// A session in which http keeps its connections and waits longer than its 5 seconds, as far as its version can.
fn session(database: &Database) -> Result<Client> {
    let mut client = database.connect();
    client.batch_execute("DROP FUNCTION IF EXISTS bench_loop")?;
    for wish in ["SET http.keepalive = on", "SELECT http_set_curlopt('CURLOPT_TIMEOUT_MS', '60000')"] {
        // Each version has its own way; a version with neither is measured as it is.
        let _ = client.batch_execute(wish);
    }
    Ok(client)
}
