//! Roles behind a pooler: each role on a shared backend has its own rights and its own token.

use sequin_harness::{Database, Request, Sandbox, identifier};

use crate::bouncer::Bouncer;
use crate::pooling::{CREATE, one};
use crate::support::server::shared;
use crate::support::{Session, TARGET};

/// The tokens of the mutations that have arrived since the last time.
fn tokens(sandbox: &Sandbox) -> Vec<String> {
    let log = sandbox.log();
    let bearer =
        |request: &&Request| request.headers["authorization"].strip_prefix("Bearer ").unwrap_or_default().to_owned();
    let tokens = log.mutations().iter().map(bearer).collect();
    sandbox.clear_log();
    tokens
}

/// Roles `one` and `two` with a token each, `none` with neither mapping nor right, and `pool`, which is a member of all.
struct Roles {
    // In the order in which they must go.
    database: Database,
    sandbox: Sandbox,
    prefix: String,
}

impl Roles {
    fn new() -> Roles {
        let sandbox = Sandbox::builder().token("token-one").arg("--token").arg("token-two").start().unwrap();
        let database = shared().fresh_database();
        let roles = Roles { prefix: database.name().to_owned(), database, sandbox };
        let [one, two, none, pool] = ["one", "two", "none", "pool"].map(|name| roles.quoted(name));
        roles.database.create_server(roles.sandbox.url(), "token-one");
        // One mapping for each role replaces the one for PUBLIC; that of postgres is for sequin_attach.
        roles.database.execute(&format!(
            "DROP USER MAPPING FOR PUBLIC SERVER sequin;
             CREATE ROLE {one} LOGIN; CREATE ROLE {two} LOGIN; CREATE ROLE {none} LOGIN;
             CREATE ROLE {pool} LOGIN IN ROLE {one}, {two}, {none};
             CREATE USER MAPPING FOR postgres SERVER sequin OPTIONS (token 'token-one');
             CREATE USER MAPPING FOR {one} SERVER sequin OPTIONS (token 'token-one');
             CREATE USER MAPPING FOR {two} SERVER sequin OPTIONS (token 'token-two');
             GRANT USAGE ON FOREIGN SERVER sequin TO {one}, {two};
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {one}, {two}, {none};
             CREATE TABLE people (id int PRIMARY KEY, name text, sf_id text);
             GRANT ALL ON people TO {one}, {two}, {none};
             SELECT sequin_attach('people', {TARGET}, 'sf_id', delivery => 'inline')",
        ));
        roles
    }

    fn name(&self, role: &str) -> String {
        format!("{role}_{}", self.prefix)
    }

    fn quoted(&self, role: &str) -> String {
        identifier(&self.name(role))
    }

    /// A transaction that is `role`'s.
    fn transaction(&self, role: &str, sql: &str) -> String {
        format!("BEGIN; SET LOCAL ROLE {}; {sql}; COMMIT", self.quoted(role))
    }
}

impl Drop for Roles {
    fn drop(&mut self) {
        let roles = ["one", "two", "none", "pool"].map(|role| self.quoted(role)).join(", ");
        if let Ok(mut client) = self.database.server().try_connect(self.database.name(), "postgres") {
            let _ = client.batch_execute(&format!("DROP OWNED BY {roles} CASCADE; DROP ROLE {roles}"));
        }
    }
}

#[test]
fn roles_that_share_a_backend_never_share_a_token() {
    let roles = Roles::new();
    let pool = roles.name("pool");
    let bouncer = Bouncer::start(shared(), &[&pool]);
    let mut clients = [(); 3].map(|()| bouncer.connect(roles.database.name(), &pool));
    let backends: Vec<String> = clients.iter_mut().map(|client| one(client, "SELECT pg_backend_pid()")).collect();
    assert!(backends.iter().all(|backend| *backend == backends[0]), "one backend: {backends:?}");

    let [first, second, third] = &mut clients;
    for _ in 0..3 {
        first.column(&roles.transaction("one", CREATE));
        second.column(&roles.transaction("two", CREATE));
        // A connection that another role has opened is no way around the right to use the server.
        let error = third.error(&roles.transaction("none", CREATE));
        assert_eq!(error.code().code(), "42501", "{error:?}");
        third.run("ROLLBACK");
        // Nor is having been another role in an earlier transaction: the login inherits rights, and no mapping.
        let error = first.error(CREATE);
        assert_eq!(error.code().code(), "42704", "{error:?}");
    }
    assert_eq!(tokens(&roles.sandbox), ["token-one", "token-two"].repeat(3));

    // Within an attached table's statement, and after commit by the worker.
    second.column(&roles.transaction("two", "INSERT INTO people VALUES (2, 'Chani')"));
    first.column(&roles.transaction("one", "INSERT INTO people VALUES (1, 'Paul')"));
    assert_eq!(tokens(&roles.sandbox), ["token-two", "token-one"]);
    let enqueue = format!("SELECT * FROM sequin_enqueue('create', {TARGET}, '{{\"data\": {{}}}}')");
    for (client, role) in [(&mut *second, "two"), (&mut *first, "one")] {
        let id = one(client, &roles.transaction(role, &enqueue));
        let delivered = roles.transaction(role, &format!("SELECT sequin_await_delivery('{{{id}}}', 60000)"));
        assert_eq!(one(client, &delivered), "t");
        let whose = format!("SELECT role::oid::regrole FROM sequin.delivered WHERE id = {id}");
        assert_eq!(one(client, &roles.transaction(role, &whose)), roles.name(role));
    }
    assert_eq!(tokens(&roles.sandbox), ["token-two", "token-one"]);
}

#[test]
fn users_whom_the_pooler_turns_into_one_login_are_that_login() {
    let roles = Roles::new();
    let (a, b, login) = (roles.name("one"), roles.name("none"), roles.name("two"));
    let bouncer = Bouncer::shared(shared(), &[&a, &b], &login);
    for user in [&a, &b] {
        bouncer.connect(roles.database.name(), user).column(CREATE);
    }
    assert_eq!(tokens(&roles.sandbox), ["token-two", "token-two"], "the extension sees the login and no other");
}

#[test]
fn a_change_of_the_mapping_reaches_the_backends_of_the_pool() {
    let roles = Roles::new();
    let user = roles.name("one");
    let bouncer = Bouncer::start(shared(), &[&user]);
    let mut client = bouncer.connect(roles.database.name(), &user);
    client.column(CREATE);
    let quoted = roles.quoted("one");
    roles.database.execute(&format!("ALTER USER MAPPING FOR {quoted} SERVER sequin OPTIONS (SET token 'token-two')"));
    client.column(CREATE);
    assert_eq!(tokens(&roles.sandbox), ["token-one", "token-two"]);
    roles.database.execute(&format!("REVOKE USAGE ON FOREIGN SERVER sequin FROM {quoted}"));
    assert_eq!(client.error(CREATE).code().code(), "42501");
    assert!(tokens(&roles.sandbox).is_empty());
}
