//! The SQL that reads what a statement changed, and writes upstream ids back.
//!
//! It runs under whatever search_path the session has, so every function, type and operator is named with its schema.
//! Values are converted by `jsonb_build_object`, as `to_jsonb` does, and never leave Postgres' own types before that.

/// The names of the transition tables in our triggers.
pub const NEW: &str = "sequin_new";
pub const OLD: &str = "sequin_old";

/// jsonb_build_object takes at most 100 arguments, two for each field.
const FIELDS_A_CALL: usize = 50;

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
    /// The primary key.
    pub key: Vec<Column>,
    /// The column of the upstream id, quoted.
    pub upstream_id: String,
    pub mapped: Vec<Mapped>,
}

impl Table {
    /// Of each inserted row without an upstream id: the data to create. In the order of [`write_back`](Self::write_back).
    pub fn inserted(&self) -> String {
        let calls: Vec<String> = self.mapped.chunks(FIELDS_A_CALL).map(build_object).collect();
        let data = calls.join(" OPERATOR(pg_catalog.||) ");
        format!("SELECT {data} FROM {NEW} n WHERE n.{} IS NULL", self.upstream_id)
    }

    /// Of each row that was changed in a mapped column, or in its key: the upstream id, the key as a JSON array, whether
    /// the key was changed, and the changed fields. First the rows that cannot be sent, so that nothing has been sent
    /// when they are found.
    pub fn updated(&self) -> String {
        let changed: Vec<String> = self.mapped.iter().map(|mapped| is_distinct(&mapped.column)).collect();
        let data: Vec<String> = self
            .mapped
            .iter()
            .zip(&changed)
            .map(|(mapped, changed)| {
                let object = build_object(std::slice::from_ref(mapped));
                format!("CASE WHEN {changed} THEN {object} ELSE '{{}}'::pg_catalog.jsonb END")
            })
            .collect();
        let key: Vec<String> = self.key.iter().map(|column| format!("n.{}", column.quoted)).collect();
        let first = &self.key[0].quoted;
        let id = &self.upstream_id;
        format!(
            "SELECT n.{}::pg_catalog.text, pg_catalog.jsonb_build_array({}), o.{first} IS NULL, {} \
             FROM {NEW} n LEFT JOIN {OLD} o ON {} WHERE o.{first} IS NULL OR {} \
             ORDER BY o.{first} IS NULL OR n.{id} IS NULL DESC",
            self.upstream_id,
            key.join(", "),
            data.join(" OPERATOR(pg_catalog.||) "),
            self.same_key("n", "o"),
            changed.join(" OR ")
        )
    }

    /// Of each deleted row that has one: the upstream id.
    pub fn deleted(&self) -> String {
        let id = &self.upstream_id;
        format!("SELECT o.{id}::pg_catalog.text FROM {OLD} o WHERE o.{id} IS NOT NULL")
    }

    /// Writes the upstream ids `$1`, a text[] in the order of [`inserted`](Self::inserted), into their rows.
    pub fn write_back(&self) -> String {
        let key: Vec<String> = self.key.iter().map(|column| format!("n.{}", column.quoted)).collect();
        let id = &self.upstream_id;
        format!(
            "UPDATE {} AS t SET {id} = w.id FROM (SELECT {}, pg_catalog.row_number() OVER () AS sequin_position \
             FROM {NEW} n WHERE n.{id} IS NULL) AS n JOIN ROWS FROM (pg_catalog.unnest($1)) WITH ORDINALITY \
             AS w(id, position) ON w.position OPERATOR(pg_catalog.=) n.sequin_position WHERE {}",
            self.quoted,
            key.join(", "),
            self.same_key("t", "n")
        )
    }

    fn same_key(&self, left: &str, right: &str) -> String {
        let equal: Vec<String> = self
            .key
            .iter()
            .map(|Column { quoted, equality }| {
                // A primary key has a unique index, and an index needs an equality.
                let operator = equality.as_deref().unwrap_or("pg_catalog.=");
                format!("{left}.{quoted} OPERATOR({operator}) {right}.{quoted}")
            })
            .collect();
        equal.join(" AND ")
    }
}

fn build_object(mapped: &[Mapped]) -> String {
    let pairs: Vec<String> = mapped
        .iter()
        .map(|Mapped { column, field }| format!("{}::pg_catalog.text, n.{}", literal(field), column.quoted))
        .collect();
    format!("pg_catalog.jsonb_build_object({})", pairs.join(", "))
}

/// `n.c IS DISTINCT FROM o.c`, which cannot be written with an operator of a named schema. A type without equality is
/// compared by what it prints.
fn is_distinct(Column { quoted, equality }: &Column) -> String {
    let equal = match equality {
        Some(operator) => format!("n.{quoted} OPERATOR({operator}) o.{quoted}"),
        None => format!("n.{quoted}::pg_catalog.text OPERATOR(pg_catalog.=) o.{quoted}::pg_catalog.text"),
    };
    format!(
        "CASE WHEN n.{quoted} IS NULL OR o.{quoted} IS NULL THEN (n.{quoted} IS NULL) OPERATOR(pg_catalog.<>) \
         (o.{quoted} IS NULL) ELSE NOT ({equal}) END"
    )
}

/// `text` as a string constant, whatever standard_conforming_strings says.
pub fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
