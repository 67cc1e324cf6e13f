//! Statements that define tokens, and fail.

use sequin_harness::literal;

use super::super::marked_token::MarkedToken;
use super::super::server::LoudServer;

/// Statements with a token that are refused. The log has the statement; the message must not repeat the token.
pub fn refuse(stage: &mut LoudServer, canaries: &[MarkedToken]) {
    for canary in canaries {
        let token = literal(&canary.token);
        let spaced = literal(&format!("{} x", canary.token));
        let long = literal(&canary.token.repeat(300));
        let statements = [
            format!("CREATE USER MAPPING FOR PUBLIC SERVER mapped0 OPTIONS (token {token})"),
            format!("CREATE USER MAPPING FOR no_such_role SERVER mapped0 OPTIONS (token {token})"),
            format!("CREATE USER MAPPING FOR app SERVER no_such_server OPTIONS (token {token})"),
            format!("CREATE USER MAPPING FOR app SERVER mapped0 OPTIONS (token {spaced})"),
            format!("CREATE USER MAPPING FOR app SERVER mapped0 OPTIONS (token {long})"),
            format!("CREATE USER MAPPING FOR app SERVER mapped0 OPTIONS (token {token}, token {token})"),
            format!("CREATE USER MAPPING FOR app SERVER mapped0 OPTIONS (token {token}, token_file 'x')"),
            format!("CREATE USER MAPPING FOR app SERVER mapped0 OPTIONS (token {token}, colour 'x')"),
            format!("CREATE USER MAPPING FOR app SERVER mapped0 OPTIONS (password {token})"),
            format!("CREATE USER MAPPING FOR app SERVER mapped0 OPTIONS (user 'x', \"Token\" {token})"),
            format!("ALTER USER MAPPING FOR app SERVER mapped0 OPTIONS (SET token {token})"),
            format!("ALTER USER MAPPING FOR PUBLIC SERVER mapped0 OPTIONS (ADD token {token})"),
            format!("ALTER USER MAPPING FOR PUBLIC SERVER mapped0 OPTIONS (SET token {spaced})"),
            format!("ALTER USER MAPPING FOR PUBLIC SERVER file0 OPTIONS (ADD token {token})"),
            format!("ALTER USER MAPPING FOR PUBLIC SERVER file0 OPTIONS (SET token {token})"),
            format!("ALTER SERVER mapped0 OPTIONS (ADD token {token})"),
            format!("ALTER FOREIGN DATA WRAPPER sequin_mutations OPTIONS (ADD token {token})"),
            format!("CREATE SERVER other FOREIGN DATA WRAPPER sequin_mutations OPTIONS (token {token})"),
        ];
        let expected = statements.len();
        let shown = stage.type_tokens(statements.into());
        assert_eq!(shown.matches(": ERROR:  ").count(), expected, "{shown}");
    }
}
