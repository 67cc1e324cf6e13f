//! The SQL that reads what a statement changed, and writes upstream ids back.
//!
//! It runs under whatever search_path the session has, so every function, type and operator is named with its schema.
//! Values are converted by `jsonb_build_object`, as `to_jsonb` does, and never leave Postgres' own types before that.

/// The names of the transition tables in our triggers.
pub const NEW: &str = "sequin_new";
pub const OLD: &str = "sequin_old";

/// jsonb_build_object takes at most 100 arguments, two for each field.
const FIELDS_A_CALL: usize = 50;

/// What blank text is made of, in every encoding.
const BLANKS: &str = " \t\n\r\u{b}\u{c}";
/// The other characters that Unicode calls white space. Most encodings do not have all of them.
const UNICODE_BLANKS: &str = "\u{85}\u{a0}\u{1680}\u{2000}\u{2001}\u{2002}\u{2003}\u{2004}\u{2005}\u{2006}\u{2007}\u{2008}\
    \u{2009}\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}";

/// A column, its name quoted for SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub quoted: String,
    /// The equality operator of its type, as in `pg_catalog.=`; None if the type has none.
    pub equality: Option<String>,
}

/// A column that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    pub column: Column,
    /// The provider's name of it.
    pub field: String,
}

/// A table as its queries need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Qualified and quoted.
    pub quoted: String,
    pub is_partitioned: bool,
    /// The primary key.
    pub key: Vec<Column>,
    /// The column of the upstream id, quoted.
    pub upstream_id: String,
    pub mapped: Vec<Mapped>,
    /// Whether the database's encoding is UTF-8.
    pub is_utf8: bool,
}

impl Table {
    /// Of each inserted row without an upstream id: the data to create. In the order of [`write_back`](Self::write_back).
    pub fn inserted(&self) -> String {
        format!("SELECT {} FROM {NEW} n WHERE {} IS NULL", self.data(), self.id_of("n"))
    }

    /// The same rows in the columns of [`updated`](Self::updated).
    pub fn inserted_with_key(&self) -> String {
        let (key, id) = (self.key_of("n"), self.id_of("n"));
        format!("SELECT NULL::pg_catalog.text, {key}, false, {} FROM {NEW} n WHERE {id} IS NULL", self.data())
    }

    fn data(&self) -> String {
        let calls: Vec<String> = self.mapped.chunks(FIELDS_A_CALL).map(build_object).collect();
        calls.join(" OPERATOR(pg_catalog.||) ")
    }

    /// The primary key as a JSON array.
    fn key_of(&self, row: &str) -> String {
        let columns: Vec<String> = self.key.iter().map(|column| format!("{row}.{}", column.quoted)).collect();
        format!("pg_catalog.jsonb_build_array({})", columns.join(", "))
    }

    /// The upstream id of a row as text. Blank text is no id, as NULL is none: no record has it. White space that only
    /// Unicode knows is not looked for in other encodings; there the check of the request refuses such an id.
    fn id_of(&self, row: &str) -> String {
        upstream_id_of(row, &self.upstream_id, self.is_utf8)
    }

    /// Of each row that was changed in a mapped column, or in its key: the upstream id, the key as a JSON array, whether
    /// the key was changed, and the changed fields. First the rows that cannot be sent, so that nothing has been sent
    /// when they are found, then as they were changed.
    ///
    /// Postgres fills both transition tables in step, so old and new belong together by their position. By their key
    /// they might not: one statement can change a row twice, and a parent and its child may have a key in common. There
    /// are more old ones if a row moves to another partition and a trigger there swallows it; its key is told as changed.
    pub fn updated(&self) -> String {
        let changed: Vec<String> =
            self.mapped.iter().enumerate().map(|(i, mapped)| is_distinct(&format!("m{i}"), &mapped.column)).collect();
        let moved: Vec<String> =
            self.key.iter().enumerate().map(|(i, column)| is_distinct(&format!("k{i}"), column)).collect();
        let moved = moved.join(" OR ");
        let data: Vec<String> = self
            .mapped
            .iter()
            .zip(&changed)
            .enumerate()
            .map(|(i, (mapped, changed))| {
                let object =
                    format!("pg_catalog.jsonb_build_object({}::pg_catalog.text, n.m{i})", literal(&mapped.field));
                format!("CASE WHEN {changed} THEN {object} ELSE '{{}}'::pg_catalog.jsonb END")
            })
            .collect();
        let key: Vec<String> = (0..self.key.len()).map(|i| format!("n.k{i}")).collect();
        format!(
            "SELECT n.id, pg_catalog.jsonb_build_array({}), {moved}, {} FROM {} AS n FULL JOIN {} AS o \
             ON n.position OPERATOR(pg_catalog.=) o.position WHERE {moved} OR {} \
             ORDER BY ({moved} OR n.id IS NULL) DESC, n.position",
            key.join(", "),
            data.join(" OPERATOR(pg_catalog.||) "),
            self.positioned(NEW),
            self.positioned(OLD),
            changed.join(" OR ")
        )
    }

    /// A transition table with our own names for its columns, which cannot be mistaken for each other, and positions.
    fn positioned(&self, transition_table: &str) -> String {
        let key = self.key.iter().enumerate().map(|(i, column)| format!("t.{} AS k{i}", column.quoted));
        let mapped = self.mapped.iter().enumerate().map(|(i, mapped)| format!("t.{} AS m{i}", mapped.column.quoted));
        let columns: Vec<String> = key.chain(mapped).collect();
        format!(
            "(SELECT {}, {} AS id, pg_catalog.row_number() OVER () AS position FROM {transition_table} t)",
            columns.join(", "),
            self.id_of("t")
        )
    }

    /// Of each deleted row that has one: the upstream id.
    pub fn deleted(&self) -> String {
        let id = self.id_of("o");
        format!("SELECT {id} FROM {OLD} o WHERE {id} IS NOT NULL")
    }

    /// Of each deleted row, in the columns of [`updated`](Self::updated), with or without an upstream id.
    pub fn deleted_with_key(&self) -> String {
        let (key, id) = (self.key_of("o"), self.id_of("o"));
        format!("SELECT {id}, {key}, false, NULL::pg_catalog.jsonb FROM {OLD} o")
    }

    /// Writes the upstream ids `$1`, a text[] in the order of [`inserted`](Self::inserted), into their rows, and gives a
    /// row for each that is there then.
    pub fn write_back(&self) -> String {
        let key: Vec<String> =
            self.key.iter().enumerate().map(|(i, column)| format!("n.{} AS k{i}", column.quoted)).collect();
        let same_key: Vec<String> = self
            .key
            .iter()
            .enumerate()
            .map(|(i, Column { quoted, equality })| {
                // A primary key has a unique index, and an index needs an equality.
                let operator = equality.as_deref().unwrap_or("pg_catalog.=");
                format!("t.{quoted} OPERATOR({operator}) n.k{i}")
            })
            .collect();
        let id = &self.upstream_id;
        let only = if self.is_partitioned { "" } else { "ONLY " };
        format!(
            "WITH written AS (UPDATE {only}{} AS t SET {id} = w.id FROM (SELECT {}, pg_catalog.row_number() OVER () AS \
             position FROM {NEW} n WHERE {} IS NULL) AS n JOIN ROWS FROM (pg_catalog.unnest($1)) WITH ORDINALITY \
             AS w(id, position) ON w.position OPERATOR(pg_catalog.=) n.position WHERE {} \
             RETURNING t.{id}::pg_catalog.text OPERATOR(pg_catalog.=) w.id AS is_kept) \
             SELECT FROM written WHERE is_kept",
            self.quoted,
            key.join(", "),
            self.id_of("n"),
            same_key.join(" AND ")
        )
    }
}

/// The upstream id in the quoted column `id` of `row`, or NULL if it is blank.
pub fn upstream_id_of(row: &str, id: &str, is_utf8: bool) -> String {
    let id = format!("{row}.{id}::pg_catalog.text");
    let blanks = literal(&[BLANKS, if is_utf8 { UNICODE_BLANKS } else { "" }].concat());
    let rest = format!("pg_catalog.octet_length(pg_catalog.btrim({id}, {blanks}::pg_catalog.text))");
    format!("CASE WHEN {rest} OPERATOR(pg_catalog.>) 0 THEN {id} END")
}

fn build_object(mapped: &[Mapped]) -> String {
    let pairs: Vec<String> = mapped
        .iter()
        .map(|Mapped { column, field }| format!("{}::pg_catalog.text, n.{}", literal(field), column.quoted))
        .collect();
    format!("pg_catalog.jsonb_build_object({})", pairs.join(", "))
}

/// `n.c IS DISTINCT FROM o.c`, which cannot be written with an operator of a named schema. One of another schema than
/// Postgres' own could be one that the role may not name: record_eq, which is slower, finds it by the type. A type without
/// equality is compared by what it prints. The test for NULL is the one that takes `ROW(NULL, NULL)` for a value.
fn is_distinct(name: &str, column: &Column) -> String {
    let equal = match &column.equality {
        Some(operator) if operator.starts_with("pg_catalog.") => format!("n.{name} OPERATOR({operator}) o.{name}"),
        Some(_) => format!("pg_catalog.record_eq(ROW(n.{name}), ROW(o.{name}))"),
        None => format!("n.{name}::pg_catalog.text OPERATOR(pg_catalog.=) o.{name}::pg_catalog.text"),
    };
    let is_null = |side: &str| format!("{side}.{name} IS NOT DISTINCT FROM NULL");
    let (new, old) = (is_null("n"), is_null("o"));
    format!("CASE WHEN {new} OR {old} THEN ({new}) OPERATOR(pg_catalog.<>) ({old}) ELSE NOT ({equal}) END")
}

/// `text` as a string constant, whatever standard_conforming_strings says.
pub fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
