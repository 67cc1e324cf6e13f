//! A table as the catalogs describe it: what the queries of a capture are made of.

use std::ffi::{CStr, c_char, c_int};

use pgrx::pg_sys::{self, Datum, Oid};

use super::{elog, text};

/// A table and its columns.
pub struct Table {
    pub oid: Oid,
    pub owner: Oid,
    schema: Oid,
    /// Qualified and quoted for SQL.
    pub quoted: String,
    pub is_partitioned: bool,
    pub is_partition: bool,
    pub columns: Vec<Column>,
}

/// A column that was not dropped.
pub struct Column {
    pub name: String,
    pub quoted: String,
    /// Its place in a row, counted from 0; dropped columns keep theirs.
    pub place: usize,
    /// The type as it was declared, a domain or not, with its modifier and its collation.
    pub declared_type: (Oid, i32, Oid),
    /// Of a domain, the type beneath it.
    pub base_type: Oid,
    /// The length of its values, as pg_type.typlen; -1 for a length of their own.
    pub length: i16,
    /// Whether a value is the datum itself, as pg_type.typbyval.
    pub by_value: bool,
    pub is_in_key: bool,
    pub is_not_null: bool,
    /// Whether Postgres computes it, so that no statement may write it.
    pub is_generated: bool,
    /// Computed when it is read (PostgreSQL 18), so that triggers see nothing of it.
    pub is_virtual: bool,
}

/// An operator.
pub struct Operator {
    /// As OPERATOR() takes it.
    pub qualified: String,
    schema: Oid,
}

impl Table {
    /// The table `oid`, if it is one that can be attached: a plain or a partitioned table.
    pub fn open(oid: Oid) -> Option<Table> {
        // SAFETY: raises if there is no such relation. It is open, and has columns, while it is described. The lock is kept
        // to the end of the transaction.
        unsafe {
            let relation = pg_sys::relation_open(oid, pg_sys::AccessShareLock as c_int);
            let kind = (*(*relation).rd_rel).relkind as u8;
            let table = (kind == pg_sys::RELKIND_RELATION || kind == pg_sys::RELKIND_PARTITIONED_TABLE)
                .then(|| Table::describe(relation));
            pg_sys::relation_close(relation, pg_sys::NoLock as c_int);
            table
        }
    }

    /// The table `oid`, locked for writing; None if it is gone. An error says that another session has locked it.
    pub fn open_to_write(oid: Oid) -> Result<Option<Table>, String> {
        // SAFETY: in a transaction, which keeps the lock. A relation may be opened without a lock by who has one. It is
        // null if it is gone, and open while it is described.
        unsafe {
            if !pg_sys::ConditionalLockRelationOid(oid, pg_sys::RowExclusiveLock as c_int) {
                return Err("the table is locked".to_owned());
            }
            let relation = pg_sys::try_relation_open(oid, pg_sys::NoLock as c_int);
            if relation.is_null() {
                return Ok(None);
            }
            let table = Table::describe(relation);
            pg_sys::relation_close(relation, pg_sys::NoLock as c_int);
            Ok(Some(table))
        }
    }

    /// # Safety
    /// An open relation with columns.
    pub(super) unsafe fn describe(relation: pg_sys::Relation) -> Table {
        // SAFETY: as the caller promises. Its form, its name and its descriptor last while it is open, and are copied. Its
        // schema is there as long as the relation, so its name is not null.
        unsafe {
            let form = &*(*relation).rd_rel;
            let schema = CStr::from_ptr(pg_sys::get_namespace_name(form.relnamespace));
            let name = CStr::from_ptr(form.relname.data.as_ptr());
            let quoted = pg_sys::quote_qualified_identifier(schema.as_ptr(), name.as_ptr());
            let key = key_columns(relation);
            let descriptor = (*relation).rd_att;
            let columns = (0..(*descriptor).natts as usize)
                .map(|i| &*super::tuple_descriptor::attribute(descriptor, i))
                .filter(|attribute| !attribute.attisdropped)
                .map(|attribute| Column::describe(attribute, key))
                .collect();
            Table {
                oid: (*relation).rd_id,
                owner: form.relowner,
                schema: form.relnamespace,
                quoted: text::from_server(CStr::from_ptr(quoted).to_bytes()).into_owned(),
                is_partition: form.relispartition,
                is_partitioned: form.relkind as u8 == pg_sys::RELKIND_PARTITIONED_TABLE,
                columns,
            }
        }
    }

    /// The columns of the primary key by name, which partitions of one table have in common; their order may differ.
    pub fn key(&self) -> Vec<&Column> {
        let mut key: Vec<&Column> = self.columns.iter().filter(|column| column.is_in_key).collect();
        key.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        key
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether the current role can find every row by its key, change it and read it: whether it may use the table, and
    /// the schemas that such a statement names, and no row security is between.
    pub fn may_be_updated(&self) -> bool {
        let role = super::session::current_role();
        // SAFETY: a look-up by oid, in a transaction.
        let may = |right: u32| unsafe {
            pg_sys::pg_class_aclcheck(self.oid, role, right as pg_sys::AclMode) == pg_sys::AclResult::ACLCHECK_OK
        };
        let operators = self.columns.iter().filter(|column| column.is_in_key).filter_map(Column::equality);
        let mut schemas = operators.map(|operator| operator.schema).chain([self.schema]);
        may(pg_sys::ACL_UPDATE)
            && may(pg_sys::ACL_SELECT)
            && schemas.all(|schema| may_name_objects_of(schema, role))
            && !has_row_security(self.oid)
    }
}

/// The columns of the relation's primary key, as a set that counts from the lowest number of a system column.
///
/// # Safety
/// An open relation.
pub(super) unsafe fn key_columns(relation: pg_sys::Relation) -> *mut pg_sys::Bitmapset {
    // SAFETY: as the caller promises. The set is a copy in the current memory context.
    unsafe {
        let of_key = pg_sys::IndexAttrBitmapKind::INDEX_ATTR_BITMAP_PRIMARY_KEY;
        let columns = pg_sys::RelationGetIndexAttrBitmap(relation, of_key);
        // Known once the indexes have been read. Older majors leave a DEFERRABLE key out by themselves.
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        if (*relation).rd_ispkdeferrable {
            return std::ptr::null_mut();
        }
        columns
    }
}

impl Column {
    /// The equality operator of its type; None if the type has none.
    pub fn equality(&self) -> Option<Operator> {
        equality(self.base_type)
    }

    /// The equality of a column of a primary key, as OPERATOR() takes it: a unique index needs one.
    pub fn key_equality(&self) -> String {
        self.equality().map_or_else(|| "pg_catalog.=".to_owned(), |operator| operator.qualified)
    }

    /// The type as it was declared, with its schema, for SQL.
    pub fn type_name(&self) -> String {
        let (of_type, modifier, _) = self.declared_type;
        let flags = pg_sys::FORMAT_TYPE_TYPEMOD_GIVEN | pg_sys::FORMAT_TYPE_FORCE_QUALIFY;
        // SAFETY: a look-up by oid, which raises if the type is gone, and gives a NUL-terminated string.
        let name = unsafe { CStr::from_ptr(pg_sys::format_type_extended(of_type, modifier, flags as u16)) };
        text::from_server(name.to_bytes()).into_owned()
    }

    /// # Safety
    /// An attribute of an open relation, and the set of its key's attributes.
    unsafe fn describe(attribute: &pg_sys::FormData_pg_attribute, key: *mut pg_sys::Bitmapset) -> Column {
        // SAFETY: as the caller promises. A name is NUL-terminated, quoted or not, and copied here.
        unsafe {
            let name = CStr::from_ptr(attribute.attname.data.as_ptr());
            let quoted = CStr::from_ptr(pg_sys::quote_identifier(name.as_ptr()));
            let base_type = pg_sys::getBaseType(attribute.atttypid);
            // The set counts from the lowest number of a system column.
            let member = c_int::from(attribute.attnum) - pg_sys::FirstLowInvalidHeapAttributeNumber;
            Column {
                name: text::from_server(name.to_bytes()).into_owned(),
                quoted: text::from_server(quoted.to_bytes()).into_owned(),
                place: attribute.attnum as usize - 1,
                declared_type: (attribute.atttypid, attribute.atttypmod, attribute.attcollation),
                base_type,
                length: attribute.attlen,
                by_value: attribute.attbyval,
                is_in_key: pg_sys::bms_is_member(member, key),
                is_not_null: attribute.attnotnull,
                is_generated: attribute.attgenerated != 0,
                is_virtual: attribute.attgenerated == b'v' as c_char,
            }
        }
    }
}

/// The equality operator that indexes on the type use.
fn equality(base_type: Oid) -> Option<Operator> {
    // SAFETY: look-ups by oid, in a transaction. The type cache's entry lasts as long as the session. Name and schema of
    // the operator, which are never NULL, are copied before its tuple is released. A schema's name is null if another
    // session has just dropped the schema.
    unsafe {
        let entry = &*pg_sys::lookup_type_cache(base_type, pg_sys::TYPECACHE_EQ_OPR as c_int);
        if entry.eq_opr == Oid::INVALID {
            return None;
        }
        let cache = pg_sys::SysCacheIdentifier::OPEROID as c_int;
        let tuple = pg_sys::SearchSysCache1(cache, Datum::from(entry.eq_opr));
        if tuple.is_null() {
            return None;
        }
        let attribute = |number: u32| pg_sys::SysCacheGetAttr(cache, tuple, number as i16, &mut false);
        let name = CStr::from_ptr(attribute(pg_sys::Anum_pg_operator_oprname).cast_mut_ptr());
        let name = text::from_server(name.to_bytes()).into_owned();
        let schema = Oid::from(attribute(pg_sys::Anum_pg_operator_oprnamespace).value() as u32);
        pg_sys::ReleaseSysCache(tuple);
        let schema_name = pg_sys::get_namespace_name(schema);
        if schema_name.is_null() {
            return None;
        }
        let schema_name = CStr::from_ptr(pg_sys::quote_identifier(schema_name));
        Some(Operator { qualified: format!("{}.{name}", text::from_server(schema_name.to_bytes())), schema })
    }
}

/// Whether `role` may name what is in `schema`.
fn may_name_objects_of(schema: Oid, role: Oid) -> bool {
    // SAFETY: look-ups by oid, in a transaction.
    unsafe {
        #[cfg(feature = "pg15")]
        let result = pg_sys::pg_namespace_aclcheck(schema, role, pg_sys::ACL_USAGE);
        #[cfg(not(feature = "pg15"))]
        let result = pg_sys::object_aclcheck(pg_sys::NamespaceRelationId, schema, role, pg_sys::ACL_USAGE.into());
        result == pg_sys::AclResult::ACLCHECK_OK
    }
}

/// Whether policies decide which rows of the relation the current role sees.
fn has_row_security(relation: Oid) -> bool {
    // SAFETY: look-ups by oid, in a transaction.
    let result = unsafe { pg_sys::check_enable_rls(relation, Oid::INVALID, true) };
    result == pg_sys::CheckEnableRlsResult::RLS_ENABLED as c_int
}

/// A relation of the schema `sequin`.
pub fn of_outbox(name: &CStr) -> Oid {
    // SAFETY: look-ups by NUL-terminated names, in a transaction. The first raises if there is no such schema.
    let relation = unsafe {
        let schema = pg_sys::get_namespace_oid(c"sequin".as_ptr(), false);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    };
    if relation == Oid::INVALID {
        elog::internal_error(format!("the relation sequin.{} does not exist", name.to_string_lossy()));
    }
    relation
}

/// The role that owns the outbox: the extension's.
pub fn owner_of_queue() -> Oid {
    let queue = of_outbox(c"queue");
    // SAFETY: a look-up by oid, in a transaction. The attribute is a number, so it outlives the tuple's release.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::RELOID as c_int;
        let tuple = pg_sys::SearchSysCache1(cache, Datum::from(queue));
        if tuple.is_null() {
            elog::internal_error("the table sequin.queue does not exist".to_owned());
        }
        let mut is_null = false;
        let owner = pg_sys::SysCacheGetAttr(cache, tuple, pg_sys::Anum_pg_class_relowner as i16, &mut is_null);
        pg_sys::ReleaseSysCache(tuple);
        Oid::from(owner.value() as u32)
    }
}

/// Whether the current role owns the relation, or may act as its owner.
pub fn is_owned(relation: Oid) -> bool {
    let role = super::session::current_role();
    // SAFETY: look-ups by oid, in a transaction.
    unsafe {
        #[cfg(feature = "pg15")]
        return pg_sys::pg_class_ownercheck(relation, role);
        #[cfg(not(feature = "pg15"))]
        return pg_sys::object_ownercheck(pg_sys::RelationRelationId, relation, role);
    }
}
