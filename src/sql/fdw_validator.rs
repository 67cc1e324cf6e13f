//! The validator of the foreign-data wrapper. Postgres calls it when options are created or altered.

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_extern;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pg_sys::{self, Oid};

use crate::ereport::Error;
use crate::pg::session;
use crate::pg::text::TextArray;
use contract::options::{self, FILE_OPTIONS, OptionError};

/// `options` has elements `name=value`; `catalog` is the catalog of the object that they belong to.
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
        return Err(no_right_to_files().into());
    }
    let checked = match catalog {
        pg_sys::ForeignServerRelationId => options::read_server(&options).map(drop),
        pg_sys::UserMappingRelationId => options::read_user_mapping(&options).map(drop),
        _ => options::reject_all(&options),
    };
    Ok(checked.map_err(Error::from)?)
}

fn no_right_to_files() -> Error {
    let message = format!("permission denied to set the options {}", FILE_OPTIONS.join(" and "));
    let hint = "They make the server read files, which takes the rights of pg_read_server_files.";
    Error::refused(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, message, hint)
}

impl From<OptionError> for Error {
    fn from(bad: OptionError) -> Error {
        let code = match bad {
            OptionError::Unknown { .. } => Code::ERRCODE_FDW_INVALID_OPTION_NAME,
            OptionError::Value { .. } => Code::ERRCODE_INVALID_PARAMETER_VALUE,
            OptionError::Missing(_) | OptionError::NotOneToken => Code::ERRCODE_FDW_OPTION_NAME_NOT_FOUND,
        };
        Error::refused(code, bad.to_string(), bad.hint().unwrap_or_default())
    }
}
