//! Why a server cannot be used, and the statements that mend it.

use crate::pg::{catalog, text};

use super::token_file::BadTokenFile;
use contract::options::OptionError;

/// Why a server cannot be used; nothing was sent.
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
    /// What to do about it, with the statements to type.
    pub fn hint(&self) -> String {
        match self {
            ServerError::NoServer(name) => {
                let server = text::quoted(name);
                format!(
                    "CREATE SERVER {server} FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url \
                     'https://api.example.com'); CREATE USER MAPPING FOR PUBLIC SERVER {server} OPTIONS (token \
                     '...'); GRANT USAGE ON FOREIGN SERVER {server} TO the roles that shall use it."
                )
            }
            ServerError::OtherWrapper { .. } => {
                "Name a server of the foreign-data wrapper sequin_mutations, as an argument or with the setting \
                 sequin.server."
                    .into()
            }
            ServerError::NoUsage(name) => {
                format!("Its owner can GRANT USAGE ON FOREIGN SERVER {} TO the role.", text::quoted(name))
            }
            ServerError::NoMapping(name) => format!(
                "CREATE USER MAPPING FOR PUBLIC SERVER {} OPTIONS (token '...'), or one for the role alone.",
                text::quoted(name)
            ),
            ServerError::Options { name, problem } => {
                let fix = format!("ALTER SERVER {} or its user mapping.", text::quoted(name));
                problem.hint().map_or(fix.clone(), |hint| format!("{hint} {fix}"))
            }
            ServerError::TokenFile { problem, .. } => problem.hint(),
            ServerError::Certificates { .. } => "The certificates are those of the server option ca_file, or else the \
                system's (on Debian: the package ca-certificates)."
                .into(),
        }
    }
}
