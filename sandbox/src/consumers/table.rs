//! The table that a Postgres consumer writes: its name, its definition, its upsert.

use std::sync::Arc;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement};

use crate::record::Record;

/// A possibly schema-qualified name, ready for SQL.
pub struct Table(String);

impl Table {
    /// Reads the name as Postgres would: folded to lower case unless quoted, parts split at dots outside quotes.
    pub fn parse(name: &str) -> Result<Table, String> {
        let mut parts = vec![String::new()];
        let (mut quoted, mut chars) = (false, name.chars().peekable());
        while let Some(c) = chars.next() {
            let part = parts.last_mut().ok_or("no name")?;
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => {
                    chars.next();
                    part.push('"');
                }
                '"' => quoted = !quoted,
                '.' if !quoted => parts.push(String::new()),
                '\0' => return Err("a name holds no NUL".into()),
                _ if quoted => part.push(c),
                _ => part.extend(c.to_lowercase()),
            }
        }
        if quoted || parts.len() > 2 || parts.iter().any(String::is_empty) {
            return Err(format!("not a table name: {name}"));
        }
        let quote = |part: &String| format!("\"{}\"", part.replace('"', "\"\""));
        Ok(Table(parts.iter().map(quote).collect::<Vec<_>>().join(".")))
    }

    /// Not left to `IF NOT EXISTS` alone: that needs the right to create in the schema even when the table is there.
    pub async fn ensure(&self, client: &Client) -> Result<(), Error> {
        let name = &self.0;
        let found = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[name]).await?;
        if found.get(0) {
            return Ok(());
        }
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
        client.batch_execute(&create).await
    }

    /// Writes one version of each of several records. A row that holds a later version stays: delivery is at least once.
    pub async fn prepare(&self, client: &Client) -> Result<Statement, Error> {
        let name = &self.0;
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
}

/// Runs the prepared upsert. No record may stand in it twice: one statement does not touch a row twice.
pub async fn upsert(client: &Client, statement: &Statement, records: &[&Arc<Record>]) -> Result<(), Error> {
    let column = |of: fn(&Record) -> &str| records.iter().map(|record| of(record)).collect::<Vec<_>>();
    let sync_id = column(|record| &record.sync_id);
    let collection_id = column(|record| &record.collection_id);
    let upstream_id = column(|record| &record.upstream_id);
    let data = column(|record| record.data.get());
    let deleted: Vec<_> = records.iter().map(|record| record.deleted).collect();
    let updated_idx: Vec<_> = records.iter().map(|record| record.updated_idx as i64).collect();
    let updated_at: Vec<_> = records.iter().map(|record| record.updated_at.to_system_time()).collect();
    let columns: [&(dyn ToSql + Sync); 7] =
        [&sync_id, &collection_id, &upstream_id, &data, &deleted, &updated_idx, &updated_at];
    client.execute(statement, &columns).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn names_are_read_as_postgres_reads_them() {
        for (name, want) in [
            ("contacts", Some(r#""contacts""#)),
            ("Crm.Contacts", Some(r#""crm"."contacts""#)),
            (r#""Crm"."a.b""#, Some(r#""Crm"."a.b""#)),
            (r#""say ""hi""""#, Some(r#""say ""hi""""#)),
            (r#"x; DROP TABLE y"#, Some(r#""x; drop table y""#)),
            ("", None),
            ("a.", None),
            ("a.b.c", None),
            (r#""open"#, None),
        ] {
            assert_eq!(Table::parse(name).ok().map(|table| table.0).as_deref(), want, "{name}");
        }
    }
}
