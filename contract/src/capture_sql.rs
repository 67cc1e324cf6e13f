//! The SQL of attached tables.
//!
//! It runs under whatever search_path the session has, so every function, type and operator is named with its schema.

/// The names of the transition tables in our triggers.
pub const NEW: &str = "sequin_new";
pub const OLD: &str = "sequin_old";

/// What blank text is made of, in every encoding.
const BLANKS: &str = " \t\n\r\u{b}\u{c}";
/// The other characters that Unicode calls white space. Most encodings do not have all of them.
const UNICODE_BLANKS: &str = "\u{85}\u{a0}\u{1680}\u{2000}\u{2001}\u{2002}\u{2003}\u{2004}\u{2005}\u{2006}\u{2007}\u{2008}\
    \u{2009}\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}";

/// The upstream id in the quoted column `id` of `row`, or NULL if it is blank: no record has a blank id.
pub fn upstream_id_of(row: &str, id: &str, is_utf8: bool) -> String {
    let id = format!("{row}.{id}::pg_catalog.text");
    let blanks = literal(&[BLANKS, if is_utf8 { UNICODE_BLANKS } else { "" }].concat());
    let rest = format!("pg_catalog.octet_length(pg_catalog.btrim({id}, {blanks}::pg_catalog.text))");
    format!("CASE WHEN {rest} OPERATOR(pg_catalog.>) 0 THEN {id} END")
}

/// A table into whose rows upstream ids are written. All names are quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenTable {
    /// Qualified.
    pub name: String,
    pub is_partitioned: bool,
    /// The columns of the primary key.
    pub key: Vec<KeyColumn>,
    /// The column of the upstream id.
    pub upstream_id: String,
}

/// A column of a primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumn {
    pub column: String,
    /// Its equality operator, as OPERATOR() takes it.
    pub equality: String,
    /// Its type, qualified.
    pub of_type: String,
}

impl WrittenTable {
    /// `ONLY`, but for a partitioned table, whose rows are in its partitions.
    fn only(&self) -> &'static str {
        if self.is_partitioned { "" } else { "ONLY " }
    }

    /// Writes the upstream ids `$1`, a text[], into the rows of the transition table at the positions `$2`, a bigint[]
    /// counted from 1; and gives a row for each that is there then.
    pub fn write_by_position(&self) -> String {
        let numbered = || self.key.iter().enumerate();
        let key: Vec<String> = numbered().map(|(i, key)| format!("t.{} AS k{i}", key.column)).collect();
        let same_key: Vec<String> =
            numbered().map(|(i, key)| format!("t.{} OPERATOR({}) n.k{i}", key.column, key.equality)).collect();
        format!(
            "WITH written AS (UPDATE {only}{name} AS t SET {id} = w.id FROM (SELECT {}, pg_catalog.row_number() OVER () AS \
             position FROM {NEW} t) AS n JOIN ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) \
             AS w(id, position) ON w.position OPERATOR(pg_catalog.=) n.position WHERE {} \
             RETURNING t.{id}::pg_catalog.text OPERATOR(pg_catalog.=) w.id AS is_kept) \
             SELECT FROM written WHERE is_kept",
            key.join(", "),
            same_key.join(" AND "),
            only = self.only(),
            name = self.name,
            id = self.upstream_id,
        )
    }

    /// Writes the upstream ids `$1`, a text[], into the rows with the keys `$2`, a text[] of JSON objects of the key's
    /// columns; and gives a row for each that is there then.
    pub fn write_by_key(&self) -> String {
        let types: Vec<String> = self.key.iter().map(|key| format!("{} {}", key.column, key.of_type)).collect();
        let same_key: Vec<String> =
            self.key.iter().map(|key| format!("t.{0} OPERATOR({1}) k.{0}", key.column, key.equality)).collect();
        format!(
            "WITH written AS (UPDATE {}{} AS t SET {id} = w.id FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) \
             AS w(id, key) CROSS JOIN LATERAL pg_catalog.jsonb_to_record(w.key::pg_catalog.jsonb) AS k({}) WHERE {} \
             RETURNING t.{id}::pg_catalog.text OPERATOR(pg_catalog.=) w.id AS is_kept) \
             SELECT FROM written WHERE is_kept",
            self.only(),
            self.name,
            types.join(", "),
            same_key.join(" AND "),
            id = self.upstream_id,
        )
    }
}

/// `text` as a string constant, whatever standard_conforming_strings says.
pub fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
