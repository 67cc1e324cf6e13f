//! The SQLSTATEs that a mutation can raise.
//!
//! All are standard codes with their documented meaning, because pgrx defines no others. None is in class 08, 40 or 57P:
//! drivers and connection pools react to those by repeating the transaction, and a repeated create makes a second record.

/// An SQLSTATE. The variants have the names in Postgres' `errcodes.txt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SqlState {
    /// 0A000: the statement would make the call more than once.
    FeatureNotSupported,
    /// 22004: an argument is NULL.
    NullValueNotAllowed,
    /// 22023: an argument has the wrong form.
    InvalidParameterValue,
    /// 25006: the transaction is read-only, or the server is a standby.
    ReadOnlySqlTransaction,
    /// 28000: the API does not accept the token.
    InvalidAuthorizationSpecification,
    /// 42501: the role may not use the server.
    InsufficientPrivilege,
    /// 42704: the server or the user mapping does not exist.
    UndefinedObject,
    /// 53400: the API asks for a pause.
    ConfigurationLimitExceeded,
    /// HV00L: the server object, its user mapping or a file that they name is unusable.
    FdwUnableToCreateExecution,
    /// HV00K: no reply says whether the mutation was applied.
    FdwReplyHandle,
    /// HV00M: the mutation was applied, but the reply does not give its records.
    FdwUnableToCreateReply,
    /// HV00N: no connection to the API, so nothing was sent.
    FdwUnableToEstablishConnection,
    /// HV00R: the API has no such address, collection or record.
    FdwTableNotFound,
    /// HV024: the API refused the records.
    FdwInvalidAttributeValue,
}

impl SqlState {
    /// All codes.
    pub const ALL: [SqlState; 14] = [
        SqlState::FeatureNotSupported,
        SqlState::NullValueNotAllowed,
        SqlState::InvalidParameterValue,
        SqlState::ReadOnlySqlTransaction,
        SqlState::InvalidAuthorizationSpecification,
        SqlState::InsufficientPrivilege,
        SqlState::UndefinedObject,
        SqlState::ConfigurationLimitExceeded,
        SqlState::FdwUnableToCreateExecution,
        SqlState::FdwReplyHandle,
        SqlState::FdwUnableToCreateReply,
        SqlState::FdwUnableToEstablishConnection,
        SqlState::FdwTableNotFound,
        SqlState::FdwInvalidAttributeValue,
    ];

    /// The code's five characters.
    pub const fn code(self) -> &'static str {
        match self {
            SqlState::FeatureNotSupported => "0A000",
            SqlState::NullValueNotAllowed => "22004",
            SqlState::InvalidParameterValue => "22023",
            SqlState::ReadOnlySqlTransaction => "25006",
            SqlState::InvalidAuthorizationSpecification => "28000",
            SqlState::InsufficientPrivilege => "42501",
            SqlState::UndefinedObject => "42704",
            SqlState::ConfigurationLimitExceeded => "53400",
            SqlState::FdwUnableToCreateExecution => "HV00L",
            SqlState::FdwReplyHandle => "HV00K",
            SqlState::FdwUnableToCreateReply => "HV00M",
            SqlState::FdwUnableToEstablishConnection => "HV00N",
            SqlState::FdwTableNotFound => "HV00R",
            SqlState::FdwInvalidAttributeValue => "HV024",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_in_no_class_that_drivers_act_on() {
        let mut codes = SqlState::ALL.map(SqlState::code).to_vec();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), SqlState::ALL.len());
        for code in &codes {
            assert_eq!(code.len(), 5);
            // A code that ends in 000 is a category: in PL/pgSQL, WHEN with such a code catches its whole class.
            let is_category = code.ends_with("000") && codes.iter().filter(|other| other[..2] == code[..2]).count() > 1;
            assert!(!is_category, "{code}");
            assert!(!["08", "40", "57P"].iter().any(|class| code.starts_with(class)), "{code}");
        }
    }
}
