//! The call that Postgres is making of a SQL function.

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pg_sys::FunctionCallInfo;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

/// The call, as an argument of a SQL function that SQL does not see. It lasts as long as the function runs.
#[derive(Clone, Copy)]
pub struct FunctionCall(FunctionCallInfo);

impl FunctionCall {
    /// A pointer to the call that Postgres is making: pgrx alone makes these values, from the pointer that Postgres passes.
    pub(super) fn info(self) -> FunctionCallInfo {
        self.0
    }
}

// SAFETY: the argument is virtual, as that of FunctionCallInfo: pgrx takes it from the call and not from its arguments.
unsafe impl<'fcx> ArgAbi<'fcx> for FunctionCall {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: as the caller promises.
        FunctionCall(unsafe { arg.unbox_unchecked::<FunctionCallInfo>() })
    }

    fn is_virtual_arg() -> bool {
        true
    }
}

// SAFETY: no argument of SQL stands for it.
unsafe impl SqlTranslatable for FunctionCall {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(FunctionCall);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::Skip);
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Err(ReturnsError::Datum);
}
