//! Other extensions in the same backend: pgcrypto, which brings OpenSSL into the process where the extension has a TLS of
//! its own, and pg_stat_statements, which hooks into what the extension hooks into.

use postgres::Client;
use sequin_harness::tls::Kind;
use sequin_harness::{Database, Sandbox, Server, Tls};

use crate::support::network::eventually;
use crate::support::server::own;
use crate::support::{Session, TARGET};

/// pgcrypto at work: digests, both ciphers of PGP, random numbers. The result is always the same.
const CRYPTO: &str = "
    SELECT encode(digest('Arrakis', 'sha256'), 'hex') || ' '
        || pgp_sym_decrypt(pgp_sym_encrypt('melange', 'water', 'cipher-algo=aes256'), 'water') || ' '
        || (crypt('water', gen_salt('bf', 4)) LIKE '$2a$04$%') || ' '
        || length(gen_random_bytes(16))";

/// The result of that, in any session that works.
const ENCRYPTED: &str = " melange true 16";

struct Place {
    database: Database,
    sandbox: Sandbox,
}

impl Place {
    /// With an API that is reached by https.
    fn on(server: &Server) -> Place {
        let tls = Tls::in_directory(&server.scratch("tls"));
        let (certificate, key) = tls.files(Kind::Valid);
        let sandbox = Sandbox::builder().tls(&certificate, &key).start().unwrap();
        let database = server.fresh_database();
        database.create_server(sandbox.url(), sandbox.token());
        database.execute(&format!("ALTER SERVER sequin OPTIONS (ADD ca_file '{}')", tls.ca_file().display()));
        database.execute("CREATE EXTENSION pgcrypto");
        Place { database, sandbox }
    }
}

/// Which library the session meets first, and which first does its work, might decide whose functions are found.
#[test]
fn pgcrypto_and_https_do_not_meet_each_other_in_a_backend() {
    let server = own("");
    let place = Place::on(&server);
    let create = format!("SELECT (sequin_create({TARGET}, '{{\"Name\": \"Paul\"}}')).data->>'Name'");
    let text = |client: &mut Client, sql: &str| client.one::<String>(sql);
    let encrypts = |client: &mut Client| assert!(text(client, CRYPTO).ends_with(ENCRYPTED));
    for crypto_first in [true, false] {
        let mut client = place.database.connect();
        if crypto_first {
            encrypts(&mut client);
        }
        for _ in 0..3 {
            assert_eq!(text(&mut client, &create), "Paul");
            encrypts(&mut client);
        }
        // A new handshake in a session that has used both.
        place.database.execute("ALTER SERVER sequin OPTIONS (SET url 'https://127.0.0.1:1')");
        let error = client.query_one(&create, &[]).unwrap_err();
        assert_eq!(error.code().map(postgres::error::SqlState::code), Some("HV00N"), "{error:?}");
        encrypts(&mut client);
        place.database.execute(&format!("ALTER SERVER sequin OPTIONS (SET url '{}')", place.sandbox.url()));
        assert_eq!(text(&mut client, &create), "Paul");
        // And both in one statement.
        let both = format!(
            "SELECT (sequin_create({TARGET}, jsonb_build_object('Hash', encode(digest('x', 'md5'), 'hex')))).data->>'Hash'"
        );
        assert_eq!(text(&mut client, &both), "9dd4e461268c8034f5c8564e155c67a6");
    }
    assert_eq!(place.sandbox.log().mutations().len(), 2 * 5);
}

#[test]
fn pg_stat_statements_is_preloaded_before_or_behind() {
    for order in ["pg_stat_statements, sequin_mutations", "sequin_mutations, pg_stat_statements"] {
        let conf = format!("shared_preload_libraries = '{order}'\npg_stat_statements.track = all");
        let server = Server::builder().conf(&conf).start().unwrap();
        let place = Place::on(&server);
        place.database.execute(&format!(
            "CREATE EXTENSION pg_stat_statements;
             CREATE TABLE people (id int PRIMARY KEY, name text, sf_id text);
             SELECT sequin_attach('people', {TARGET}, 'sf_id');"
        ));
        let mut client = place.database.connect();
        for n in 0..3 {
            client.run(&format!("SELECT sequin_create({TARGET}, '{{\"Name\": \"secret-{n}\"}}')"));
        }
        // The star is refused by a planner support function, and a failed call leaves no trace in the others.
        assert!(client.batch_execute(&format!("SELECT (sequin_create({TARGET}, '{{}}')).*")).is_err());
        client.run("INSERT INTO people VALUES (1, 'Chani'), (2, 'Stilgar')");
        eventually("the worker has delivered and written back", || client.one("SELECT count(sf_id) = 2 FROM people"));
        assert_eq!(place.sandbox.log().mutations().len(), 5, "{order}");

        // Calls are counted as one statement, without the values; so are the worker's statements.
        let calls: i64 = client.one("SELECT calls FROM pg_stat_statements WHERE query LIKE 'SELECT sequin_create(%'");
        assert_eq!(calls, 3, "{order}");
        let values = "SELECT count(*) FROM pg_stat_statements WHERE query LIKE '%secret-%' OR query LIKE $1";
        let token = format!("%Bearer {}%", place.sandbox.token());
        assert_eq!(client.one_of::<i64>(values, &[&token]), 0, "{order}");
        let worker = "SELECT count(*) FROM pg_stat_statements WHERE query LIKE '%sequin.claims%'";
        assert!(client.one::<i64>(worker) > 0, "{order}");
    }
}
