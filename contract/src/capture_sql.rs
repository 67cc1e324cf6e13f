//! The SQL that attached tables need.
//!
//! It runs under the session's search_path, so it names every function, type and operator with its schema. An unqualified
//! name would let a user's schema replace the function.

/// The transition table of new rows in the extension's triggers.
pub const NEW_ROWS: &str = "sequin_new";
/// The transition table of old rows in the extension's triggers.
pub const OLD_ROWS: &str = "sequin_old";

/// ASCII white space, which every database encoding has.
const BLANKS: &str = " \t\n\r\u{b}\u{c}";
/// The other characters with Unicode's White_Space property. Most encodings lack some of them.
const UNICODE_BLANKS: &str = "\u{85}\u{a0}\u{1680}\u{2000}\u{2001}\u{2002}\u{2003}\u{2004}\u{2005}\u{2006}\u{2007}\u{2008}\
    \u{2009}\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}";

/// An SQL expression: the text in the column `id` of `row`, or NULL if it is blank, since no record has a blank id.
/// `id` is a quoted identifier. `is_utf8` is whether the database's encoding is UTF-8.
pub fn upstream_id_expression(row: &str, id: &str, is_utf8: bool) -> String {
    let id = format!("{row}.{id}::pg_catalog.text");
    let blanks = literal(&[BLANKS, if is_utf8 { UNICODE_BLANKS } else { "" }].concat());
    let rest = format!("pg_catalog.octet_length(pg_catalog.btrim({id}, {blanks}::pg_catalog.text))");
    format!("CASE WHEN {rest} OPERATOR(pg_catalog.>) 0 THEN {id} END")
}

/// An attached table, as the write-back needs it. All names are quoted identifiers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteBackTable {
    /// The table's name with its schema.
    pub name: String,
    /// Whether the table is partitioned.
    pub is_partitioned: bool,
    /// The columns of the primary key.
    pub primary_key: Vec<PrimaryKeyColumn>,
    /// The column that receives the upstream id.
    pub upstream_id_column: String,
}

/// A column of a primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryKeyColumn {
    /// The column's name.
    pub column: String,
    /// The equality operator of its type, with its schema, as `OPERATOR()` takes it.
    pub equality: String,
    /// Its type, with its schema.
    pub type_name: String,
}

impl WriteBackTable {
    /// `ONLY`, except for a partitioned table, whose rows are in its partitions.
    fn only(&self) -> &'static str {
        if self.is_partitioned { "" } else { "ONLY " }
    }

    /// The statement that writes upstream ids into the rows of the transition table. `$1` is the ids, a text[]; `$2` is the
    /// rows' positions, a bigint[] that counts from 1. It returns one empty row for each id that the table then holds: a
    /// BEFORE trigger may have changed or skipped the write.
    pub fn write_by_position(&self) -> String {
        let numbered = || self.primary_key.iter().enumerate();
        let key: Vec<String> = numbered().map(|(i, key)| format!("t.{} AS k{i}", key.column)).collect();
        let same_key: Vec<String> =
            numbered().map(|(i, key)| format!("t.{} OPERATOR({}) n.k{i}", key.column, key.equality)).collect();
        format!(
            "WITH written AS (UPDATE {only}{name} AS t SET {id} = w.id FROM (SELECT {}, pg_catalog.row_number() OVER () AS \
             position FROM {NEW_ROWS} t) AS n JOIN ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) \
             AS w(id, position) ON w.position OPERATOR(pg_catalog.=) n.position WHERE {} \
             RETURNING t.{id}::pg_catalog.text OPERATOR(pg_catalog.=) w.id AS is_kept) \
             SELECT FROM written WHERE is_kept",
            key.join(", "),
            same_key.join(" AND "),
            only = self.only(),
            name = self.name,
            id = self.upstream_id_column,
        )
    }

    /// The statement that writes upstream ids into the rows with the given primary keys. `$1` is the ids, a text[]; `$2` is
    /// the keys, a text[] of JSON objects with one field for each key column. It returns one empty row for each id that the
    /// table then holds.
    pub fn write_by_key(&self) -> String {
        let types: Vec<String> =
            self.primary_key.iter().map(|key| format!("{} {}", key.column, key.type_name)).collect();
        let same_key: Vec<String> =
            self.primary_key.iter().map(|key| format!("t.{0} OPERATOR({1}) k.{0}", key.column, key.equality)).collect();
        format!(
            "WITH written AS (UPDATE {}{} AS t SET {id} = w.id FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) \
             AS w(id, key) CROSS JOIN LATERAL pg_catalog.jsonb_to_record(w.key::pg_catalog.jsonb) AS k({}) WHERE {} \
             RETURNING t.{id}::pg_catalog.text OPERATOR(pg_catalog.=) w.id AS is_kept) \
             SELECT FROM written WHERE is_kept",
            self.only(),
            self.name,
            types.join(", "),
            same_key.join(" AND "),
            id = self.upstream_id_column,
        )
    }
}

/// `text` as an SQL string constant. It is valid under either value of standard_conforming_strings.
pub fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
