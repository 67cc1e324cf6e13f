//! The validator of the foreign-data wrapper: Postgres calls it whenever options are created or altered.

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_extern;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pg_sys::{self, Oid};

use crate::pg::session;
use crate::pg::text::{TextArray, for_message};
use contract::options::{self, FILE_OPTIONS, OptionError};

/// `options` has elements `name=value`; `catalog` says what kind of object they are for.
#[pg_extern(schema = "sequin", volatile, parallel_unsafe, strict)]
fn validate_options(options: TextArray, catalog: Oid) -> Result<(), ErrorReport> {
    let options: Vec<(String, String)> = options
        .0
        .iter()
        .flatten()
        .filter_map(|option| option.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    if options.iter().any(|(name, _)| FILE_OPTIONS.contains(&name.as_str())) && !session::may_name_server_files() {
        return Err(ErrorReport::new(
            Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied to set the options {}", FILE_OPTIONS.join(" and ")),
            "sequin_mutations",
        )
        .set_hint("They make the server read files. It takes the rights of pg_read_server_files."));
    }
    match catalog {
        pg_sys::ForeignServerRelationId => options::read_server(&options).map(drop),
        pg_sys::UserMappingRelationId => options::read_user_mapping(&options).map(drop),
        _ => options::reject_all(&options),
    }
    .map_err(refuse)
}

fn refuse(bad: OptionError) -> ErrorReport {
    let code = match bad {
        OptionError::Unknown { .. } => Code::ERRCODE_FDW_INVALID_OPTION_NAME,
        OptionError::Value { .. } => Code::ERRCODE_INVALID_PARAMETER_VALUE,
        OptionError::Missing(_) | OptionError::NotOneToken => Code::ERRCODE_FDW_OPTION_NAME_NOT_FOUND,
    };
    let report = ErrorReport::new(code, for_message(bad.to_string()), "sequin_mutations");
    match bad.hint() {
        Some(hint) => report.set_hint(for_message(hint)),
        None => report,
    }
}
