//! The planner support function's view of a query: a call that the planner is about to simplify, and the query around it.

use std::ffi::{c_int, c_void};

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::{Datum as LiveDatum, Internal};
use pgrx::pg_guard;
use pgrx::pg_sys::{self, FuncExpr, Node, NodeTag, Oid};

use super::guc;

/// The answer of a support function that offers no simpler expression.
pub struct Unchanged;

pgrx::impl_sql_translatable!(Unchanged, "internal");

// SAFETY: the SQL type is internal, a pointer. The planner takes a null pointer, which is not SQL's NULL, for "no".
unsafe impl BoxRet for Unchanged {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> LiveDatum<'fcx> {
        // SAFETY: a datum of that type.
        unsafe { fcinfo.return_raw_datum(pg_sys::Datum::null()) }
    }
}

/// The function that a query calls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Callee {
    pub function: Oid,
    pub result_type: Oid,
    pub returns_set: bool,
}

impl Callee {
    fn of(call: &FuncExpr) -> Callee {
        Callee { function: call.funcid, result_type: call.funcresulttype, returns_set: call.funcretset }
    }
}

/// A call in a query that is being planned.
pub struct PlannedCall<'a> {
    planner: &'a pg_sys::PlannerInfo,
    call: &'a FuncExpr,
}

/// The calls that fields are taken from in one query. It owns nothing, because an error may jump over it.
struct Search<'a> {
    counts: &'a dyn Fn(Callee) -> bool,
    /// Of FuncExpr.
    seen: *mut pg_sys::List,
}

impl PlannedCall<'_> {
    /// The call that `request` is about. None if Postgres asks for something else, or without a query: an index
    /// expression, a default.
    pub fn of(request: &Internal) -> Option<PlannedCall<'_>> {
        // SAFETY: SQL cannot make a value of the type internal, so the planner is the caller. It passes a pointer to a
        // node whose tag says what it is, and keeps it, the call and the query for as long as the function runs.
        unsafe {
            let node: *const Node = request.get::<Node>()?;
            if (*node).type_ != NodeTag::T_SupportRequestSimplify {
                return None;
            }
            let request = &*node.cast::<pg_sys::SupportRequestSimplify>();
            Some(PlannedCall { planner: request.root.as_ref()?, call: request.fcall.as_ref()? })
        }
    }

    pub fn callee(&self) -> Callee {
        Callee::of(self.call)
    }

    /// Whether the query takes two fields from equal calls, of those whose callee `counts`.
    pub fn has_fields_of_equal_calls(&self, counts: impl Fn(Callee) -> bool) -> bool {
        let mut search = Search { counts: &counts, seen: std::ptr::null_mut() };
        // Subqueries and CTEs are planned, and asked about, on their own.
        let flags = pg_sys::QTW_IGNORE_RT_SUBQUERIES | pg_sys::QTW_IGNORE_CTE_SUBQUERIES;
        // Grouped expressions stand in the select list as well, and are computed once.
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        let flags = flags | pg_sys::QTW_IGNORE_GROUPEXPRS;
        // SAFETY: the planner's own query, and a search that outlives the walk. `visit` takes a pointer to one.
        unsafe { pg_sys::query_tree_walker(self.planner.parse, Some(visit), (&raw mut search).cast(), flags as c_int) }
    }

    /// Keeps the planner from Memoize nodes for the rest of the transaction.
    pub fn forbid_memoize(&self) {
        guc::set_local(c"enable_memoize", c"off");
        // From 19 on the planner reads the setting before it asks about calls, and keeps it for the joins to come.
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18")))]
        // SAFETY: the planner's own state, which lasts as long as it plans, behind a raw pointer that no reference is
        // made of.
        unsafe {
            (*self.planner.glob).default_pgs_mask &= !u64::from(pg_sys::PGS_NESTLOOP_MEMOIZE);
        }
    }
}

/// Called by Postgres for each node. Ends the walk at the second field that is taken from equal calls.
#[pg_guard]
unsafe extern "C-unwind" fn visit(node: *mut Node, search: *mut c_void) -> bool {
    // SAFETY: Postgres walks whole trees, and passes on the pointer of `has_fields_of_equal_calls`, to a search that no
    // other code uses meanwhile.
    unsafe {
        if node.is_null() || (*node).type_ == NodeTag::T_Query {
            return false;
        }
        if let Some(call) = call_under_field(node) {
            let search = &mut *search.cast::<Search<'_>>();
            if (search.counts)(Callee::of(&*call)) {
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
