//! The table of a Postgres consumer: its definition and its upsert.

use std::sync::Arc;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement};

use crate::record::Record;

/// Ensures that the table `name` exists, and prepares [`upsert`].
pub async fn prepare(client: &Client, name: &str) -> Result<Statement, Error> {
    let quoted = "SELECT string_agg(quote_ident(part), '.' ORDER BY n), to_regclass($1) IS NOT NULL
                  FROM unnest(parse_ident($1)) WITH ORDINALITY AS parts (part, n)";
    let row = client.query_one(quoted, &[&name]).await?;
    let (name, is_there): (String, bool) = (row.get(0), row.get(1));
    // Checked first, because `IF NOT EXISTS` needs the right to create in the schema even if the table exists.
    if !is_there {
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {name} (
                sync_id text NOT NULL,
                collection_id text NOT NULL,
                upstream_id text NOT NULL,
                data jsonb NOT NULL,
                deleted boolean NOT NULL,
                updated_idx bigint NOT NULL,
                upstream_updated_at timestamptz NOT NULL,
                PRIMARY KEY (sync_id, collection_id, upstream_id)
            )"
        );
        client.batch_execute(&create).await?;
    }
    // A row with a later version stays: delivery is at least once.
    let upsert = format!(
        "INSERT INTO {name} AS present
            (sync_id, collection_id, upstream_id, data, deleted, updated_idx, upstream_updated_at)
        SELECT sync_id, collection_id, upstream_id, data::jsonb, deleted, updated_idx, updated_at
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::boolean[], $6::bigint[], $7::timestamptz[])
            AS sent (sync_id, collection_id, upstream_id, data, deleted, updated_idx, updated_at)
        ON CONFLICT (sync_id, collection_id, upstream_id) DO UPDATE SET
            data = excluded.data,
            deleted = excluded.deleted,
            updated_idx = excluded.updated_idx,
            upstream_updated_at = excluded.upstream_updated_at
        WHERE present.updated_idx < excluded.updated_idx"
    );
    client.prepare(&upsert).await
}

/// Writes one version of each of several records. Each record may occur once: one statement cannot change a row twice.
pub async fn upsert(client: &Client, statement: &Statement, records: &[&Arc<Record>]) -> Result<(), Error> {
    let column = |of: fn(&Record) -> &str| records.iter().map(|record| of(record)).collect::<Vec<_>>();
    let sync_id = column(|record| &record.sync_id);
    let collection_id = column(|record| &record.collection_id);
    let upstream_id = column(|record| &record.upstream_id);
    let data = column(|record| record.data.get());
    let deleted: Vec<_> = records.iter().map(|record| record.deleted).collect();
    let updated_idx: Vec<_> = records.iter().map(|record| record.updated_idx as i64).collect();
    let updated_at: Vec<_> = records.iter().map(|record| record.updated_at).collect();
    let columns: [&(dyn ToSql + Sync); 7] =
        [&sync_id, &collection_id, &upstream_id, &data, &deleted, &updated_idx, &updated_at];
    client.execute(statement, &columns).await.map(|_| ())
}
