//! Why a server cannot be used, and the statements that fix it.

use crate::ereport::Error;
use crate::pg::{catalog, text};

use super::token_file::BadTokenFile;
use contract::options::OptionError;
use contract::outcome::{Outcome, SqlState};

/// A server that cannot be used. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("server \"{0}\" does not exist")]
    NoServer(String),
    #[error("server \"{name}\" belongs to the foreign-data wrapper \"{wrapper}\", not to \"{}\"", catalog::WRAPPER)]
    OtherWrapper { name: String, wrapper: String },
    #[error("permission denied for foreign server \"{0}\"")]
    NoUsage(String),
    #[error("server \"{0}\" has no user mapping for the current role")]
    NoMapping(String),
    #[error("server \"{name}\": {problem}")]
    Options { name: String, problem: OptionError },
    #[error("server \"{name}\": {problem}")]
    TokenFile { name: String, problem: BadTokenFile },
    #[error("server \"{name}\": {problem}")]
    Certificates { name: String, problem: String },
}

impl ServerError {
    /// The statements that fix it.
    pub fn hint(&self) -> String {
        match self {
            ServerError::NoServer(name) => {
                let server = text::quoted(name);
                format!(
                    "CREATE SERVER {server} FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url \
                     'https://api.example.com'); CREATE USER MAPPING FOR PUBLIC SERVER {server} OPTIONS (token \
                     '...'); GRANT USAGE ON FOREIGN SERVER {server} TO the roles that are to use it."
                )
            }
            ServerError::OtherWrapper { .. } => {
                "Pass the name of a server of the foreign-data wrapper sequin_mutations, or SET sequin.server to it."
                    .into()
            }
            ServerError::NoUsage(name) => {
                format!("Its owner can GRANT USAGE ON FOREIGN SERVER {} TO the role.", text::quoted(name))
            }
            ServerError::NoMapping(name) => format!(
                "CREATE USER MAPPING FOR PUBLIC SERVER {} OPTIONS (token '...'), or one for this role only.",
                text::quoted(name)
            ),
            ServerError::Options { name, problem } => {
                let fix = format!("ALTER SERVER {} or its user mapping.", text::quoted(name));
                problem.hint().map_or(fix.clone(), |hint| format!("{hint} {fix}"))
            }
            ServerError::TokenFile { problem, .. } => problem.hint(),
            ServerError::Certificates { .. } => "The certificates come from the file in the server option ca_file, or \
                else from the system (on Debian: the package ca-certificates)."
                .into(),
        }
    }
}

impl From<ServerError> for Outcome {
    fn from(error: ServerError) -> Outcome {
        let state = match error {
            ServerError::NoUsage(_) => SqlState::InsufficientPrivilege,
            ServerError::NoServer(_) | ServerError::OtherWrapper { .. } | ServerError::NoMapping(_) => {
                SqlState::UndefinedObject
            }
            // Not 22023, so that programs can tell a wrong record from a wrong configuration.
            ServerError::Options { .. } | ServerError::TokenFile { .. } | ServerError::Certificates { .. } => {
                SqlState::FdwUnableToCreateExecution
            }
        };
        Outcome::not_sent(state, error.to_string(), error.hint())
    }
}

impl From<ServerError> for Error {
    fn from(error: ServerError) -> Error {
        Outcome::from(error).into()
    }
}
