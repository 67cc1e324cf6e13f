//! Guards against plans that make a call too often, or not at all.
//!
//! `(f(...)).*` calls a plain composite function once for each of its columns: for `sequin_create` that would be eleven
//! records. Postgres expands the star while it parses, so a function cannot see it when it runs; its planner support
//! function can, before anything is called: it looks for two fields that are taken from equal calls.
//! `(f(x)).upstream_id`, a call for each row and PERFORM are left alone (probes.md 5).
//!
//! The other way round, a join may remember a call's result and not make the call again for a row with equal values:
//! see [`PlannedCall::forbid_memoize`].

use std::ffi::{c_int, c_void};

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::{Datum as LiveDatum, Internal};
use pgrx::pg_catalog::pg_proc::PgProc;
use pgrx::pg_guard;
use pgrx::pg_sys::{self, FuncExpr, Node, NodeTag, Oid};

use super::guc;

/// The language of functions in SQL: a fixed entry of pg_language, which the bindings lack.
const SQL_LANGUAGE: Oid = Oid::from_u32(14);

/// A support function's answer that it has nothing to offer: a null pointer, which is not the same as SQL's NULL.
pub struct AsItIs;

pgrx::impl_sql_translatable!(AsItIs, "internal");

// SAFETY: the type internal is a pointer, and Postgres takes a null pointer for "no".
unsafe impl BoxRet for AsItIs {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> LiveDatum<'fcx> {
        // SAFETY: as above.
        unsafe { fcinfo.return_raw_datum(pg_sys::Datum::null()) }
    }
}

/// The calls that fields are taken from in one query. Plain data: an error may jump over it.
struct Search {
    function: Oid,
    result_type: Oid,
    /// Of FuncExpr.
    seen: *mut pg_sys::List,
}

/// A call that a query under way to its plan would make.
pub struct PlannedCall<'a> {
    planner: &'a pg_sys::PlannerInfo,
    call: &'a FuncExpr,
}

impl PlannedCall<'_> {
    /// The call that `request` is about. None if Postgres asks for something else, or without a query: an index
    /// expression, a default.
    pub fn of(request: Internal) -> Option<Self> {
        // SAFETY: Postgres calls a support function with a pointer to a node that says what it is, and keeps it, the
        // call and the query for as long as it plans.
        unsafe {
            let node = request.unwrap()?.cast_mut_ptr::<Node>();
            if (*node).type_ != NodeTag::T_SupportRequestSimplify {
                return None;
            }
            let request = &*node.cast::<pg_sys::SupportRequestSimplify>();
            Some(PlannedCall { planner: request.root.as_ref()?, call: &*request.fcall })
        }
    }

    /// Whether the query makes the call more than once to fill one row. A set's columns are filled by one call.
    pub fn is_repeated_by_a_star(&self) -> bool {
        if self.call.funcretset {
            return false;
        }
        let mut search =
            Search { function: self.call.funcid, result_type: self.call.funcresulttype, seen: std::ptr::null_mut() };
        // Subqueries and CTEs are planned, and asked about, on their own.
        let flags = pg_sys::QTW_IGNORE_RT_SUBQUERIES | pg_sys::QTW_IGNORE_CTE_SUBQUERIES;
        // What is grouped by stands in the select list as well, and is computed once.
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        let flags = flags | pg_sys::QTW_IGNORE_GROUPEXPRS;
        // SAFETY: a whole query, and a search that outlives the walk.
        unsafe { pg_sys::query_tree_walker(self.planner.parse, Some(visit), (&raw mut search).cast(), flags as c_int) }
    }

    /// Keeps the plans of this transaction from remembering a call's result for rows with equal values.
    ///
    /// A join that calls a function for each row of its other side may be given a Memoize node, which Postgres does not
    /// deny to volatile functions: then 200 equal rows would make one create. The call itself need not mention the row, so
    /// there is no telling which plans are in danger. It is a setting of the planner, put back at the end of the
    /// transaction; what else is planned until then loses a possible speed-up, and nothing else.
    pub fn forbid_memoize(&self) {
        guc::set_local(c"enable_memoize", c"off");
        // From 19 on the planner reads the setting before it asks about calls, and keeps it for the joins to come.
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18")))]
        // SAFETY: the planner's own state, which lives as long as it plans and is not read meanwhile.
        unsafe {
            (*self.planner.glob).default_pgs_mask &= !u64::from(pg_sys::PGS_NESTLOOP_MEMOIZE);
        }
    }
}

/// Ends the walk at the second field that is taken from equal calls.
#[pg_guard]
unsafe extern "C-unwind" fn visit(node: *mut Node, search: *mut c_void) -> bool {
    // SAFETY: Postgres walks whole trees, and passes the search through.
    unsafe {
        if node.is_null() || (*node).type_ == NodeTag::T_Query {
            return false;
        }
        if let Some(call) = call_under_field(node) {
            let search = &mut *search.cast::<Search>();
            if search.concerns(&*call) {
                if pg_sys::list_member(search.seen, call.cast()) {
                    return true;
                }
                search.seen = pg_sys::lappend(search.seen, call.cast_mut().cast());
            }
        }
        pg_sys::expression_tree_walker(node, Some(visit), search)
    }
}

/// The function call that `node` takes a field from.
///
/// # Safety
/// `node` is a whole expression node.
unsafe fn call_under_field(node: *const Node) -> Option<*const FuncExpr> {
    // SAFETY: as the caller promises; the tag says which node it is.
    unsafe {
        if (*node).type_ != NodeTag::T_FieldSelect {
            return None;
        }
        let argument = (*node.cast::<pg_sys::FieldSelect>()).arg.cast::<Node>();
        ((*argument).type_ == NodeTag::T_FuncExpr).then_some(argument.cast_const().cast())
    }
}

impl Search {
    /// Our function, or one in SQL with our result: the planner is about to put its body in its place.
    fn concerns(&self, call: &FuncExpr) -> bool {
        call.funcid == self.function
            || call.funcresulttype == self.result_type
                && !call.funcretset
                && PgProc::new(call.funcid).is_some_and(|function| function.prolang() == SQL_LANGUAGE)
    }
}
