//! The ways of a document to the API and back. Postgres is the judge: the sent, returned and stored documents must be
//! equal as jsonb, and print alike, which tells `1.10` from `1.1`.

use crate::support::{Session, World};

/// A way: returns the differences of these documents at its end.
pub type Way = fn(&mut World, &[String]) -> Result<(), String>;

/// The texts as jsonb, numbered from 1.
const WENT: &str = "went AS MATERIALIZED
    (SELECT n, text::jsonb AS data FROM unnest($1::text[]) WITH ORDINALITY AS sent(text, n))";

/// One call and one request, as `sequin_mutate` makes it.
pub fn call(world: &mut World, documents: &[String]) -> Result<(), String> {
    world.sandbox.clear_log();
    let back = format!(
        "WITH {WENT}, back AS (
             SELECT back.ordinality AS n, back.data FROM ROWS FROM (sequin_mutate('create', 'sync', 'salesforce:contact',
                 (SELECT jsonb_agg(jsonb_build_object('data', data) ORDER BY n) FROM went))) WITH ORDINALITY AS back)
         SELECT went.data::text, back.data::text, went.data = back.data FROM went FULL JOIN back USING (n)"
    );
    all_same(world, "what came back", &back, &[&documents])?;
    let body = world.body();
    let arrived = format!(
        "WITH {WENT}, arrived AS (SELECT n, element->'data' AS data
             FROM jsonb_array_elements($2::text::jsonb->'records') WITH ORDINALITY AS all_of(element, n))
         SELECT went.data::text, arrived.data::text, went.data = arrived.data FROM went FULL JOIN arrived USING (n)"
    );
    all_same(world, "what arrived", &arrived, &[&documents, &body])
}

/// The queue, the worker, and the history.
pub fn outbox(world: &mut World, documents: &[String]) -> Result<(), String> {
    let enqueue = format!(
        "WITH {WENT} SELECT * FROM sequin_enqueue('create', 'sync', 'salesforce:contact',
             (SELECT jsonb_agg(jsonb_build_object('data', data) ORDER BY n) FROM went))"
    );
    world.sandbox.clear_log();
    let ids = delivered(world, &enqueue, documents)?;
    let kept = format!(
        "WITH {WENT}, done AS (SELECT place.n, d.data, (d.record->'data')::jsonb AS back
             FROM unnest($2::bigint[]) WITH ORDINALITY AS place(id, n) JOIN sequin.delivered d USING (id))
         SELECT went.data::text, done.data::text, went.data = done.data FROM went FULL JOIN done USING (n)
         UNION ALL SELECT went.data::text, done.back::text, went.data = done.back FROM went FULL JOIN done USING (n)"
    );
    all_same(world, "what the outbox keeps", &kept, &[&documents, &ids])?;
    arrived_in_any_order(world, "SELECT data FROM went", documents)
}

/// Two waiting updates of one record are merged into the result of `||`.
pub fn merged(world: &mut World, documents: &[String]) -> Result<(), String> {
    let first = documents.first().ok_or("no documents")?;
    let ids: Vec<String> = {
        let create = "SELECT upstream_id FROM sequin_mutate('create', 'sync', 'salesforce:contact',
             (SELECT jsonb_agg('{\"data\": {}}'::jsonb) FROM unnest($1::text[])))";
        let rows = world.client.query(create, &[&documents]).map_err(|error| format!("{first}: {error:?}"))?;
        rows.iter().map(|row| row.get(0)).collect()
    };
    world.sandbox.clear_log();
    let enqueue = format!(
        "WITH {WENT}, both_of AS (
             SELECT 1 AS turn, n, data FROM went UNION ALL
             SELECT 2, n, lead(data, 1, data) OVER (ORDER BY n) FROM went)
         SELECT * FROM sequin_enqueue('update', 'sync', 'salesforce:contact',
             (SELECT jsonb_agg(jsonb_build_object('upstream_id', (ARRAY['{}'])[n], 'data', data) ORDER BY turn, n) FROM both_of))",
        ids.join("', '")
    );
    delivered(world, &enqueue, documents)?;
    arrived_in_any_order(world, "SELECT data || lead(data, 1, data) OVER (ORDER BY n) FROM went", documents)
}

/// A row of a table that is attached inline for each document: all of it when it is inserted, and what changed when
/// each row takes the next one's values.
pub fn table(world: &mut World, documents: &[String]) -> Result<(), String> {
    attach(world, "inline");
    changed(world, documents, |_| ())
}

/// The same after commit.
pub fn late_table(world: &mut World, documents: &[String]) -> Result<(), String> {
    attach(world, "outbox");
    changed(world, documents, World::written_back)
}

fn attach(world: &mut World, delivery: &str) {
    world.run(&format!(
        "DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY, n numeric, a numeric[], t text, j jsonb, sf_id text);
         SELECT sequin_attach('t', 'sync', 'salesforce:contact', 'sf_id', delivery => '{delivery}')"
    ));
}

/// A row as it is to be sent.
const ROW: &str = "jsonb_build_object('n', n, 'a', a, 't', t, 'j', j)";

fn changed(world: &mut World, documents: &[String], wait: fn(&mut World)) -> Result<(), String> {
    world.sandbox.clear_log();
    let fields = "(data->>'n')::numeric,
         ARRAY(SELECT x::numeric FROM jsonb_array_elements_text(data->'a') WITH ORDINALITY AS all_of(x, n) ORDER BY n),
         data->>'t', data->'j'";
    let insert = format!("WITH {WENT} INSERT INTO t SELECT n, {fields} FROM went");
    world.client.execute(&insert, &[&documents]).map_err(|error| format!("insert: {error:?}"))?;
    wait(world);
    let bodies = world.bodies();
    let arrived = "SELECT element->'data' AS data FROM unnest($1::text[]) AS body, jsonb_array_elements(body::jsonb->'records') element";
    let inserted = format!(
        "SELECT one.data::text, other.data::text, one.data = other.data
         FROM (SELECT row_number() OVER (ORDER BY data::text) AS place, data FROM (SELECT {ROW} AS data FROM t) all_of) one
         FULL JOIN (SELECT row_number() OVER (ORDER BY data::text) AS place, data FROM ({arrived}) all_of) other USING (place)"
    );
    all_same(world, "what an INSERT sent", &inserted, &[&bodies])?;

    world.run("DROP TABLE IF EXISTS before; CREATE TABLE before AS TABLE t");
    let update = "UPDATE t SET (n, a, t, j) = (SELECT n, a, t, j FROM before WHERE before.id = t.id + 1)
         WHERE id < (SELECT max(id) FROM before)";
    world.client.execute(update, &[]).map_err(|error| format!("update: {error:?}"))?;
    wait(world);
    let bodies = world.bodies();
    // A column counts as changed if its text differs: 1.10 and 1.1 differ in their digits.
    let updated = format!(
        "WITH sent AS (SELECT element->>'upstream_id' AS sf_id, element->'data' AS data
             FROM unnest($1::text[]) AS body, jsonb_array_elements(body::jsonb->'records') AS element)
         SELECT t.now::text, t.now::text, (before.was || coalesce(sent.data, '{{}}')) = t.now
             AND NOT EXISTS (SELECT FROM jsonb_each(sent.data) WHERE (before.was->key)::text = value::text)
         FROM (SELECT sf_id, {ROW} AS now FROM t) t
         JOIN (SELECT sf_id, {ROW} AS was FROM before) before USING (sf_id) LEFT JOIN sent USING (sf_id)"
    );
    all_same(world, "what an UPDATE sent", &updated, &[&bodies])
}

/// Runs `enqueue`, and gives the ids of the records when all are delivered.
fn delivered(world: &mut World, enqueue: &str, documents: &[String]) -> Result<Vec<i64>, String> {
    let rows = world.client.query(enqueue, &[&documents]).map_err(|error| format!("enqueue: {error:?}"))?;
    let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let done = world.client.query_one("SELECT sequin_await_delivery($1, 60000)", &[&ids]);
    match done.map(|row| row.get(0)) {
        Ok(true) => Ok(ids),
        Ok(false) => Err(format!("not delivered: {:?}", world.open_work())),
        Err(error) => Err(format!("not delivered: {error:?}")),
    }
}

/// Whether the data of all mutations equal the result of `expected`, a query of [`WENT`].
fn arrived_in_any_order(world: &mut World, expected: &str, documents: &[String]) -> Result<(), String> {
    let bodies = world.bodies();
    let sql = format!(
        "WITH {WENT}, expected AS (SELECT row_number() OVER (ORDER BY data::text) AS place, data FROM ({expected}) AS e(data)),
         arrived AS (SELECT row_number() OVER (ORDER BY (element->'data')::text) AS place, element->'data' AS data
             FROM unnest($2::text[]) AS body, jsonb_array_elements(body::jsonb->'records') AS element)
         SELECT expected.data::text, arrived.data::text, expected.data = arrived.data FROM expected FULL JOIN arrived USING (place)"
    );
    all_same(world, "what arrived", &sql, &[&documents, &bodies])
}

/// Whether the first two columns of all rows are the same text, and the third is true.
fn all_same(
    world: &mut World,
    what: &str,
    sql: &str,
    parameters: &[&(dyn postgres::types::ToSql + Sync)],
) -> Result<(), String> {
    let rows = world.client.query(sql, parameters).map_err(|error| format!("{what}: {error:?}"))?;
    if rows.is_empty() {
        return Err(format!("{what}: nothing"));
    }
    for row in rows {
        let (one, other): (Option<String>, Option<String>) = (row.get(0), row.get(1));
        if one.is_none() || one != other || row.get::<_, Option<bool>>(2) != Some(true) {
            return Err(format!("{what}: {one:.1000?} and {other:.1000?}"));
        }
    }
    Ok(())
}
