//! Claims: requests in flight, each committed before it is sent.

use pgrx::pg_sys::Oid;

use crate::pg::column::row;
use crate::pg::spi::Connection;
use crate::pg::statement::Statement;
use contract::batching::ordering_key::OrderingKey;
use contract::batching::plan::Operation;
use contract::kind::Kind;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The owner of claims that no worker may end: their records are neither sent nor free.
pub const NO_OWNER: i64 = -1;

row! {
    pub struct Claim {
        pub id: i64,
        pub owner: i64,
        pub server: String,
        pub kind: Kind,
        pub ids: Vec<i64>,
        /// For each of the ids, the record that it was merged into. Empty: no record was merged.
        pub heads: Vec<i64>,
        pub keys: Vec<i64>,
    }
}

/// An ordering key in a claim. Two keys with one hash only wait for each other, so eight bytes are enough.
pub fn hash(key: &OrderingKey) -> i64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish().cast_signed()
}

/// The claims of other owners, in their order.
pub fn of_others(connection: &Connection, owner: i64) -> Vec<Claim> {
    static READ: Statement<(i64,)> = Statement::new(
        "SELECT c.id, c.owner, c.server, c.kind, c.ids, c.heads, c.keys FROM sequin.claims c \
         WHERE c.owner OPERATOR(pg_catalog.<>) $1 ORDER BY c.id",
    );
    READ.run(connection, (owner,)).iter().collect()
}

/// The owners of the claims of a server.
pub fn owners(connection: &Connection, server: &str) -> Vec<i64> {
    static OWNERS: Statement<(&str,)> =
        Statement::new("SELECT c.owner FROM sequin.claims c WHERE c.server OPERATOR(pg_catalog.=) $1");
    super::ids(OWNERS.run(connection, (server,)))
}

/// Claims these operations. Returns the claim's id.
pub fn write(connection: &Connection, owner: i64, server: &str, kind: Kind, operations: &[&Operation]) -> i64 {
    static WRITE: Statement<(i64, &str, &str, &[i64], &[i64], &[i64])> = Statement::new(
        "INSERT INTO sequin.claims (id, owner, server, kind, ids, heads, keys, claimed_at) \
         VALUES (pg_catalog.nextval('sequin.outbox_id'), $1, $2, $3, $4, $5, $6, pg_catalog.clock_timestamp()) \
         RETURNING id",
    );
    let (mut ids, mut heads) = (Vec::new(), Vec::new());
    for operation in operations {
        for id in operation.ids() {
            ids.push(id);
            heads.push(operation.id);
        }
    }
    if ids == heads {
        heads.clear();
    }
    let keys: Vec<i64> =
        operations.iter().filter_map(|operation| operation.ordering_key.as_deref()).map(hash).collect();
    let claim = WRITE.run(connection, (owner, server, kind.as_str(), &ids, &heads, &keys)).first::<(i64,)>();
    claim.expect("an INSERT of one row returns it").0
}

/// Ends a claim of this owner. Returns false if another worker has ended it.
pub fn end(connection: &Connection, claim: i64, owner: i64) -> bool {
    static END: Statement<(i64, i64)> = Statement::new(
        "DELETE FROM sequin.claims c WHERE c.id OPERATOR(pg_catalog.=) $1 AND c.owner OPERATOR(pg_catalog.=) $2 \
         RETURNING 1",
    );
    END.run(connection, (claim, owner)).len() == 1
}

/// Leaves a claim without an owner. Returns false if another worker has ended it.
pub fn disown(connection: &Connection, claim: i64, owner: i64) -> bool {
    static DISOWN: Statement<(i64, i64, i64)> = Statement::new(
        "UPDATE sequin.claims c SET owner = $3 WHERE c.id OPERATOR(pg_catalog.=) $1 \
         AND c.owner OPERATOR(pg_catalog.=) $2 RETURNING 1",
    );
    DISOWN.run(connection, (claim, owner, NO_OWNER)).len() == 1
}

/// Ends a claim of any owner.
pub fn delete(connection: &Connection, claim: i64) {
    static DELETE: Statement<(i64,)> =
        Statement::new("DELETE FROM sequin.claims c WHERE c.id OPERATOR(pg_catalog.=) $1");
    DELETE.run(connection, (claim,)).free();
}

/// The hashes of the ordering keys of these open records.
pub fn keys_of(connection: &Connection, server: &str, ids: &[i64]) -> Vec<i64> {
    static KEYS: Statement<(&str, &[i64])> = Statement::new(
        "SELECT q.collection_id, q.relation::pg_catalog.oid, q.ordering_key FROM sequin.queue q \
         WHERE q.server OPERATOR(pg_catalog.=) $1 AND q.id OPERATOR(pg_catalog.=) ANY ($2) AND q.ordering_key IS NOT NULL \
         UNION SELECT p.collection_id, p.relation::pg_catalog.oid, p.ordering_key FROM sequin.deferred p \
         WHERE p.id OPERATOR(pg_catalog.=) ANY ($2) AND p.ordering_key IS NOT NULL",
    );
    let rows = KEYS.run(connection, (server, ids));
    let key = |(collection_id, relation, text): (String, Option<Oid>, String)| {
        hash(&OrderingKey::new(&collection_id, relation.map(|relation| relation.to_u32()), &text))
    };
    let keys = rows.iter().map(key).collect();
    rows.free();
    keys
}

/// Leaves these records in a claim, with their ordering keys, and no others.
pub fn shrink(connection: &Connection, claim: i64, ids: &[i64], heads: &[i64], keys: &[i64]) {
    static SHRINK: Statement<(i64, &[i64], &[i64], &[i64])> = Statement::new(
        "UPDATE sequin.claims c SET ids = $2, heads = $3, keys = $4 WHERE c.id OPERATOR(pg_catalog.=) $1",
    );
    SHRINK.run(connection, (claim, ids, heads, keys)).free();
}

/// Deletes the claim of this record alone, unless one of the owners has it. Returns false if there is none.
pub fn delete_of_record(connection: &Connection, id: i64, owners: &[i64]) -> bool {
    static DELETE: Statement<(i64, &[i64])> = Statement::new(
        "DELETE FROM sequin.claims c WHERE c.ids OPERATOR(pg_catalog.=) ARRAY[$1] \
         AND c.owner OPERATOR(pg_catalog.<>) ALL ($2) RETURNING 1",
    );
    DELETE.run(connection, (id, owners)).len() > 0
}
