//! Foreign servers and user mappings, as Postgres' catalogs have them.

use std::ffi::{CStr, c_int};
use std::fmt;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use pgrx::pg_catalog::pg_proc::PgProc;
use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::{PgList, pg_guard};

use super::text;

/// Options as the catalog stores them: name and value, in UTF-8.
pub type Options = Vec<(String, String)>;

/// The foreign-data wrapper that our servers belong to.
pub const WRAPPER: &str = "sequin_mutations";

/// A server object of any wrapper.
pub struct ServerObject {
    pub wrapper: String,
    pub options: Options,
}

/// A database of this cluster.
pub struct Database {
    pub oid: Oid,
    /// For messages: each database stores its name in an encoding of its own.
    pub name: String,
    /// Whether one can connect to it. A DROP DATABASE that was interrupted leaves one that is invalid.
    pub is_open: bool,
    pub is_template: bool,
}

/// All databases. Works without a database, in which there are no queries.
pub fn databases() -> Vec<Database> {
    /// The connection limit of an invalid database.
    const INVALID: i32 = -2;
    let mut databases = Vec::new();
    // SAFETY: a scan of a shared catalog, in a transaction. Its tuples begin with this struct; each is read before the
    // scan goes on. Scan and catalog are closed, or belong to the transaction that an error ends.
    unsafe {
        let mode = pg_sys::AccessShareLock as c_int;
        let relation = pg_sys::table_open(pg_sys::DatabaseRelationId, mode);
        let no_keys = std::ptr::null_mut();
        let scan = pg_sys::systable_beginscan(relation, Oid::INVALID, false, std::ptr::null_mut(), 0, no_keys);
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let database = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_database>();
            // A name is NUL-terminated within its array.
            let name = CStr::from_ptr(database.datname.data.as_ptr());
            databases.push(Database {
                oid: database.oid,
                name: name.to_string_lossy().into_owned(),
                is_open: database.datallowconn && database.datconnlimit != INVALID,
                is_template: database.datistemplate,
            });
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, mode);
    }
    databases
}

/// The extension named `name`, as other sessions have committed it by now.
pub fn extension_oid(name: &CStr) -> Option<Oid> {
    // SAFETY: in a transaction, a look-up by a NUL-terminated name.
    let oid = unsafe {
        pg_sys::AcceptInvalidationMessages();
        pg_sys::get_extension_oid(name.as_ptr(), true)
    };
    (oid != Oid::INVALID).then_some(oid)
}

/// Whether the wrapper [`WRAPPER`] exists, as other sessions have committed it when this transaction began. Mostly the
/// cache answers, without a scan or a lock.
pub fn has_wrapper() -> bool {
    let name = text::to_server_cstring(WRAPPER);
    // SAFETY: in a transaction, a look-up by a NUL-terminated name, which is freed once.
    let oid = unsafe {
        let oid = pg_sys::get_foreign_data_wrapper_oid(name, true);
        pg_sys::pfree(name.cast());
        oid
    };
    oid != Oid::INVALID
}

/// Whether the language of the function is SQL.
pub fn is_sql_function(function: Oid) -> bool {
    /// A fixed entry of pg_language, which pgrx's bindings lack.
    const SQL_LANGUAGE: Oid = Oid::from_u32(14);
    PgProc::new(function).is_some_and(|function| function.prolang() == SQL_LANGUAGE)
}

/// The server named `name`, whatever its wrapper.
pub fn server_oid(name: &str) -> Option<Oid> {
    let name = text::to_server_cstring(name);
    // SAFETY: a look-up by a NUL-terminated name, which is freed once.
    let oid = unsafe {
        let oid = pg_sys::get_foreign_server_oid(name, true);
        pg_sys::pfree(name.cast());
        oid
    };
    (oid != Oid::INVALID).then_some(oid)
}

/// Whether the server `server` exists in this database.
pub fn has_server(server: Oid) -> bool {
    exists(pg_sys::SysCacheIdentifier::FOREIGNSERVEROID, server)
}

/// Whether the database exists.
pub fn has_database(database: Oid) -> bool {
    exists(pg_sys::SysCacheIdentifier::DATABASEOID, database)
}

fn exists(cache: pg_sys::SysCacheIdentifier::Type, oid: Oid) -> bool {
    let none = Datum::null();
    // SAFETY: a look-up by the only key of this cache, in a transaction.
    unsafe { pg_sys::SearchSysCacheExists(cache as c_int, Datum::from(oid), none, none, none) }
}

/// Keeps `server` and its name to the end of the transaction. A transaction that renames or drops it is waited for.
pub fn keep_server(server: Oid) {
    // SAFETY: in a transaction, which keeps the lock. Any oid can be locked.
    unsafe {
        let mode = pg_sys::AccessShareLock as c_int;
        pg_sys::LockDatabaseObject(pg_sys::ForeignServerRelationId, server, 0, mode);
    }
}

/// Whether `role` has USAGE on `server`.
pub fn may_use(server: Oid, role: Oid) -> bool {
    // SAFETY: look-ups by oid, in a transaction.
    unsafe {
        #[cfg(feature = "pg15")]
        let result = pg_sys::pg_foreign_server_aclcheck(server, role, pg_sys::ACL_USAGE);
        #[cfg(not(feature = "pg15"))]
        let result = pg_sys::object_aclcheck(pg_sys::ForeignServerRelationId, server, role, pg_sys::ACL_USAGE.into());
        result == pg_sys::AclResult::ACLCHECK_OK
    }
}

/// Reads the server object `server`, which exists.
pub fn server_object(server: Oid) -> ServerObject {
    // SAFETY: both look-ups raise if there is no such object. Otherwise they give a whole struct, with a NUL-terminated
    // name and a list of options, in the current memory context.
    unsafe {
        let object = &*pg_sys::GetForeignServerExtended(server, 0);
        let wrapper = &*pg_sys::GetForeignDataWrapperExtended(object.fdwid, 0);
        let name = CStr::from_ptr(wrapper.fdwname);
        ServerObject { wrapper: text::from_server(name.to_bytes()).into_owned(), options: options_of(object.options) }
    }
}

/// The options of the mapping that `role` uses with `server`: its own, or else PUBLIC's.
pub fn mapping_options(role: Oid, server: Oid) -> Option<Options> {
    let exists = |user: Oid| {
        // SAFETY: a look-up by the two keys of this cache, in a transaction.
        unsafe {
            pg_sys::SearchSysCacheExists(
                pg_sys::SysCacheIdentifier::USERMAPPINGUSERSERVER as c_int,
                Datum::from(user),
                Datum::from(server),
                Datum::null(),
                Datum::null(),
            )
        }
    };
    if !exists(role) && !exists(Oid::INVALID) {
        return None;
    }
    // SAFETY: raises unless one of the two mappings is there. Otherwise it gives a whole struct with a list of options.
    Some(unsafe { options_of((*pg_sys::GetUserMapping(role, server)).options) })
}

/// # Safety
/// A list of DefElem with string values, as the functions of foreign.h return it; or null, the empty list.
unsafe fn options_of(list: *mut pg_sys::List) -> Options {
    // SAFETY: as the caller promises; names and values are NUL-terminated, and copied here.
    unsafe {
        PgList::<pg_sys::DefElem>::from_pg(list)
            .iter_ptr()
            .map(|element| {
                let name = CStr::from_ptr((*element).defname);
                let value = CStr::from_ptr(pg_sys::defGetString(element));
                (text::from_server(name.to_bytes()).into_owned(), text::from_server(value.to_bytes()).into_owned())
            })
            .collect()
    }
}

/// The name of a role; None if it was dropped.
pub fn role_name(role: u32) -> Option<String> {
    // SAFETY: a look-up by oid, which gives a NUL-terminated name, or null.
    unsafe {
        let name = pg_sys::GetUserNameFromId(Oid::from(role), true);
        (!name.is_null()).then(|| text::from_server(CStr::from_ptr(name).to_bytes()).into_owned())
    }
}

/// Whether `role` has the rights of `other`: it is that role, a member of it, or a superuser.
pub fn has_rights_of(role: Oid, other: u32) -> bool {
    // SAFETY: look-ups by oid, in a transaction.
    unsafe { pg_sys::has_privs_of_role(role, Oid::from(other)) }
}

/// Whether `role` may read all tables, as superusers and members of pg_read_all_data may.
pub fn reads_all_data(role: Oid) -> bool {
    has_rights_of(role, pg_sys::ROLE_PG_READ_ALL_DATA)
}

/// One version of a row of a catalog: whose it is, where it lies, and who wrote it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Version {
    object: Oid,
    /// Its block, in two halves, and its number there.
    place: [u16; 3],
    transaction: pg_sys::TransactionId,
}

/// As a query has it: the numbers `oid` and `xmin`.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.object.to_u32(), self.transaction.into_inner())
    }
}

/// The versions of the server object `server` and its wrapper, if they are there.
pub fn server_versions(server: Oid) -> Option<(Version, Version)> {
    let server = cached(pg_sys::SysCacheIdentifier::FOREIGNSERVEROID, Datum::from(server), Datum::null(), |tuple| {
        // SAFETY: a row of pg_foreign_server, which the cache holds while it is read. It begins with this struct.
        let object = unsafe { &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_foreign_server>() };
        (version_of(tuple), object.srvfdw)
    });
    let (server, wrapper) = server?;
    let cache = pg_sys::SysCacheIdentifier::FOREIGNDATAWRAPPEROID;
    Some((server, cached(cache, Datum::from(wrapper), Datum::null(), version_of)?))
}

/// The version of the mapping that `role` uses with `server`: its own, or else PUBLIC's.
pub fn mapping_version(role: Oid, server: Oid) -> Option<Version> {
    let cache = pg_sys::SysCacheIdentifier::USERMAPPINGUSERSERVER;
    let of = |user: Oid| cached(cache, Datum::from(user), Datum::from(server), version_of);
    of(role).or_else(|| of(Oid::INVALID))
}

/// The result of `read` for the row with this key; None if there is none.
fn cached<T>(
    cache: pg_sys::SysCacheIdentifier::Type,
    key: Datum,
    second: Datum,
    read: impl FnOnce(pg_sys::HeapTuple) -> T,
) -> Option<T> {
    // SAFETY: a look-up by the keys of this cache, in a transaction. The row is held while `read` reads it.
    unsafe {
        let tuple = pg_sys::SearchSysCache(cache as c_int, key, second, Datum::null(), Datum::null());
        (!tuple.is_null()).then(|| {
            let value = read(tuple);
            pg_sys::ReleaseSysCache(tuple);
            value
        })
    }
}

fn version_of(tuple: pg_sys::HeapTuple) -> Version {
    // SAFETY: a row that a cache of `cached` holds, with the header that it has on its page. The catalogs of these caches
    // begin with the oid.
    unsafe {
        let place = (*tuple).t_self;
        Version {
            object: *pg_sys::GETSTRUCT(tuple).cast::<Oid>(),
            place: [place.ip_blkid.bi_hi, place.ip_blkid.bi_lo, place.ip_posid],
            transaction: (*(*tuple).t_data).t_choice.t_heap.t_xmin,
        }
    }
}

static CHANGES: AtomicU64 = AtomicU64::new(0);
static RESETS: AtomicU64 = AtomicU64::new(0);

/// How many changes of servers, mappings and wrappers this session has learnt of: two numbers that grow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChangeCount {
    /// How often one was created, altered or dropped.
    pub changes: u64,
    /// How often the session may have missed changes: there were more, of whatever objects, than Postgres keeps for a
    /// session that does not listen for long.
    pub resets: u64,
}

impl ChangeCount {
    pub const NONE: ChangeCount = ChangeCount { changes: 0, resets: 0 };
}

/// The changes so far. The session learns of its own at once, and of others' when its next statement takes a lock, as for
/// any object of a catalog.
pub fn change_count() -> ChangeCount {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        let caches = [
            pg_sys::SysCacheIdentifier::FOREIGNDATAWRAPPEROID,
            pg_sys::SysCacheIdentifier::FOREIGNSERVEROID,
            pg_sys::SysCacheIdentifier::USERMAPPINGOID,
        ];
        for cache in caches {
            // SAFETY: a function that lives as long as the library, which Postgres never unloads. Of the 64 places for
            // such callbacks in a backend this takes three, once.
            unsafe {
                pg_sys::CacheRegisterSyscacheCallback(cache as c_int, Some(something_changed), Datum::null());
            }
        }
    });
    ChangeCount { changes: CHANGES.load(Ordering::Relaxed), resets: RESETS.load(Ordering::Relaxed) }
}

/// Called by Postgres when it learns of a change, also in the middle of a transaction: so it only counts. No hash means
/// that anything may have changed (inval.c).
#[pg_guard]
unsafe extern "C-unwind" fn something_changed(_arg: Datum, _cache: c_int, hash: u32) {
    let counter = if hash == 0 { &RESETS } else { &CHANGES };
    counter.fetch_add(1, Ordering::Relaxed);
}
