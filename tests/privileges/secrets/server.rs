//! A server with the most verbose logging, and the sessions that use it.

use std::fs::{self};
use std::path::PathBuf;

use postgres::Client;
use sequin_harness::{Server, literal};

use super::evidence::Evidence;
use crate::support::Session;
use crate::support::server::{own, secrets_directory, write_as_server};

/// All logging settings of a server, and the two extensions that log more.
const LOUD: &str = "
log_min_messages = debug5
log_min_error_statement = debug5
client_min_messages = debug5
log_error_verbosity = verbose
log_statement = all
log_duration = on
log_min_duration_statement = 0
log_parameter_max_length = -1
log_parameter_max_length_on_error = -1
debug_pretty_print = off
debug_print_parse = on
debug_print_rewritten = on
debug_print_plan = on
log_connections = on
log_disconnections = on
log_lock_waits = on
log_temp_files = 0
log_replication_commands = on
trace_notify = on
track_activity_query_size = 65536
track_functions = all
shared_preload_libraries = 'pg_stat_statements,auto_explain'
pg_stat_statements.track = all
pg_stat_statements.track_utility = on
auto_explain.log_min_duration = 0
auto_explain.log_analyze = on
auto_explain.log_verbose = on
auto_explain.log_buffers = on
auto_explain.log_settings = on
auto_explain.log_triggers = on
auto_explain.log_nested_statements = on
";

/// The options of a server object for the API that repeats tokens: some of its replies are too large.
pub const OPTIONS: &str = ", request_timeout_ms '10000', max_response_bytes '50000'";

/// Statements for a session that observes and must not become part of the evidence. `set` is `SET`, or `ALTER ROLE ...
/// SET`.
pub fn quiet(set: &str) -> String {
    let settings = [
        "log_min_messages = fatal",
        "client_min_messages = error",
        "log_statement = none",
        "log_duration = off",
        "log_min_duration_statement = -1",
        "debug_print_parse = off",
        "debug_print_rewritten = off",
        "debug_print_plan = off",
        "auto_explain.log_min_duration = -1",
    ];
    settings.map(|setting| format!("{set} {setting};")).concat()
}

/// The server, the observing session, and the collected evidence.
pub struct LoudServer {
    // In the order in which they must go.
    pub observer: Client,
    pub evidence: Evidence,
    pub server: Server,
    /// The statements with a token of a mapping, as they were typed.
    pub typed: Vec<String>,
    secrets: PathBuf,
    runs: usize,
}

impl LoudServer {
    pub fn start() -> LoudServer {
        let server = own(LOUD);
        server.connect("postgres").run("CREATE DATABASE stage");
        let mut observer = server.connect("stage");
        let secrets = secrets_directory(&server);
        let statements = [
            &quiet("SET"),
            "CREATE EXTENSION pg_stat_statements",
            "CREATE EXTENSION sequin_mutations",
            "CREATE ROLE app LOGIN; GRANT CREATE ON SCHEMA public TO app;
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO app;
             GRANT EXECUTE ON FUNCTION sequin.capture, sequin.refuse_truncate TO app",
        ];
        for statement in statements {
            observer.run(statement);
        }
        let evidence = Evidence::new(server.scratch("evidence"));
        LoudServer { observer, evidence, server, typed: Vec::new(), secrets, runs: 0 }
    }

    /// A session of the role that uses the objects of other roles.
    pub fn app(&self) -> Client {
        self.server.connect_as("stage", "app")
    }

    /// Runs the statements in psql as `role`, past errors. Keeps and returns the output.
    pub fn psql(&mut self, role: &str, statements: &[String]) -> String {
        self.runs += 1;
        let script = self.server.dir().join("script.sql");
        let text: String = statements.iter().map(|statement| format!("{statement};\n")).collect();
        let set = "\\set ON_ERROR_STOP off\n\\set VERBOSITY verbose\n\\set SHOW_CONTEXT always\n";
        fs::write(&script, [set, &text].concat()).unwrap();
        let mut psql = self.server.psql_command("stage");
        let output = psql.args(["-d", &self.server.dsn_as("stage", role), "-f"]).arg(&script).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.evidence.keep_output(&format!("client.{role}.{}", self.runs), &output);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Has the superuser type statements with a token of a mapping.
    ///
    /// From major 16 on debug_print_parse writes them down as trees as well, with line breaks anywhere. They are as
    /// typed as the statement, but no search could tell that.
    pub fn type_tokens(&mut self, statements: Vec<String>) -> String {
        let mut all = vec!["SET debug_print_parse = off".to_owned(), "SET debug_print_rewritten = off".to_owned()];
        all.extend_from_slice(&statements);
        self.typed.extend(statements);
        self.psql("postgres", &all)
    }

    /// Server objects for the API at `url`, each with a mapping for PUBLIC with this token.
    pub fn servers_with_token(&mut self, names: &[String], url: &str, options: &str, token: &str) {
        self.server_objects(names, url, options);
        let token = literal(token);
        let mapping = |name: &String| format!("CREATE USER MAPPING FOR PUBLIC SERVER {name} OPTIONS (token {token})");
        let shown = self.type_tokens(names.iter().map(mapping).collect());
        assert_eq!(shown.matches("CREATE USER MAPPING\n").count(), names.len(), "{shown}");
    }

    /// The same with a mapping that names a token file.
    pub fn servers_with_file(&mut self, names: &[String], url: &str, options: &str, file: &str) {
        self.server_objects(names, url, options);
        for name in names {
            let mapping = format!("CREATE USER MAPPING FOR PUBLIC SERVER {name} OPTIONS (token_file '{file}')");
            self.observer.run(&mapping);
        }
    }

    fn server_objects(&mut self, names: &[String], url: &str, options: &str) {
        let url = literal(url);
        for name in names {
            let object =
                format!("CREATE SERVER {name} FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url {url}{options})");
            let grant = format!("GRANT USAGE ON FOREIGN SERVER {name} TO app");
            self.observer.run(&format!("{object}; {grant}"));
        }
    }

    pub fn write_token_file(&self, name: &str, content: &str, mode: u32) {
        write_as_server(&self.server, &self.secrets.join(name), content, mode);
    }
}
