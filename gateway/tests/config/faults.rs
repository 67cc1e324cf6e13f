//! A table of wrong files, each with all that is said about it.

use super::{Folder, SMALLEST};

/// What is appended to the smallest file, and the faults. Line 6 is the first one appended.
const APPENDED: &[(&str, &str)] = &[
    ("[sync.dev.typo]", "6: sync.dev.typo: unknown key, one of limit, timeout, provider"),
    ("[snyc.x]", "6: snyc: unknown key, one of listen, tls, admin, max_body, grace, clients, log, sync, token"),
    ("[sync.dev]", "6: duplicate key"),
    ("provider = \"memory\"", "6: duplicate key"),
    ("timeout = 30", "6: sync.dev.timeout: must be a string, not integer"),
    ("timeout = \"30\"", "6: sync.dev.timeout: is no duration such as \"30s\" or \"1m 30s\""),
    ("timeout = \"0s\"", "6: sync.dev.timeout: must be above zero"),
    ("timeout = \"2days\"", "6: sync.dev.timeout: must be at most 1day"),
    ("limit = { per_second = 0 }", "6: sync.dev.limit.per_second: must be above 0 and at most 100000"),
    ("limit = { per_second = nan }", "6: sync.dev.limit.per_second: must be above 0 and at most 100000"),
    ("limit = { per_second = \"1\" }", "6: sync.dev.limit.per_second: must be a number, not string"),
    ("limit = { concurrent = 0 }", "6: sync.dev.limit.concurrent: must be from 1 to 10000"),
    ("limit = { concurrent = -1 }", "6: sync.dev.limit.concurrent: must be from 1 to 10000"),
    ("limit = { concurrent = 1.5 }", "6: sync.dev.limit.concurrent: must be an integer, not float"),
    ("limit = 7", "6: sync.dev.limit: must be a table, not integer"),
    ("base_url = \"https://x.example\"", "6: sync.dev.base_url: unknown key, one of limit, timeout, provider"),
    ("[sync]\nx = 1", "7: sync.x: must be a table, not integer"),
    ("[sync.x]\nprovider = \"stripy\"", "7: sync.x.provider: unknown value \"stripy\", one of memory, rest, stripe"),
    ("[sync.x]\ntimeout = \"1s\"", "6: sync.x.provider: missing"),
    ("[sync.\"\"]\nprovider = \"memory\"", "6: sync.\"\": a name has 1 to 100 bytes and no control character"),
    ("[sync.\"a b\"]\nprovider = \"memory\"\nx = 1", "8: sync.\"a b\".x: unknown key, one of limit, timeout, provider"),
    ("[token.b]\nfile = \"app.token\"\nsyncs = [\"dev\"]", "7: token.b.token: is the secret of token \"app\""),
    ("[token.b]\nfile = \"other.token\"\nsyncs = [\"dev\", \"crm\"]", "8: token.b.syncs: unknown sync \"crm\""),
    ("[token.b]\nfile = \"other.token\"\nsyncs = [\"dev\", \"dev\"]", "8: token.b.syncs: \"dev\" is there twice"),
    ("[token.b]\nfile = \"other.token\"\nsyncs = []", "6: token.b.syncs: is empty: this token could do nothing"),
    ("[token.b]\nfile = \"other.token\"\nsyncs = \"dev\"", "8: token.b.syncs: must be an array of strings"),
    ("[token.b]\nfile = \"other.token\"\nsyncs = [1]", "8: token.b.syncs: must be a string, not integer"),
    ("[token.b]\nfile = \"other.token\"", "6: token.b.syncs: missing"),
    ("[tls]\ncert_file = \"cert.pem\"", "6: tls.key_file: missing"),
    (
        "[tls]\ncert_file = \"none\"\nkey_file = \"key.pem\"",
        "7: tls.cert_file: none cannot be read: No such file or directory (os error 2)",
    ),
    (
        "[tls]\ncert_file = \"key.pem\"\nkey_file = \"key.pem\"",
        "7: tls.cert_file: key.pem holds no certificates in PEM",
    ),
    ("[tls]\ncert_file = \"cert.pem\"\nkey_file = \"secret\"", "8: tls.key_file: secret holds no private key in PEM"),
    (
        "[tls]\ncert_file = \"cert.pem\"\nkey_file = \"ec.pem\"",
        "8: tls.key_file: does not fit cert_file: keys may not be consistent: KeyMismatch",
    ),
    ("[clients]\nmax_connections = 0", "7: clients.max_connections: must be from 1 to 100000"),
];

/// The same, with another text before the smallest file, whose lines are then two lower.
const PREPENDED: &[(&str, &str)] = &[
    ("listen = \"localhost:1\"\n", "1: listen: is no address such as \"127.0.0.1:7460\" or \"[::1]:7460\""),
    ("listen = \"127.0.0.1:99999\"\n", "1: listen: is no address such as \"127.0.0.1:7460\" or \"[::1]:7460\""),
    ("admin = \"127.0.0.1:7460\"\n", "1: admin: must not be the address of listen: clients would see it"),
    (
        "listen = \"0.0.0.0:9\"\nadmin = \"127.0.0.1:9\"",
        "2: admin: must not be the address of listen: clients would see it",
    ),
    ("max_body = \"0\"\n", "1: max_body: must be from 1B to 1GiB"),
    (
        "max_body = \"16 mb\"\n",
        "1: max_body: is no size such as \"16MiB\"; the units are B, kB, MB, GB, KiB, MiB and GiB",
    ),
    ("log = \"info,=\"\n", "1: log: invalid filter directive"),
];

#[test]
fn each_wrong_file_is_named_with_line_and_key() {
    let folder = Folder::new();
    for (text, expected) in APPENDED {
        assert_eq!(folder.faults(&format!("{SMALLEST}{text}\n")), format!("gateway.toml:{expected}"), "{text}");
    }
    for (text, expected) in PREPENDED {
        assert_eq!(folder.faults(&format!("{text}\n{SMALLEST}")), format!("gateway.toml:{expected}"), "{text}");
    }
}

/// Keys of `[sync.s]` with the provider "stripe", which begins in line 8, and the faults.
const OF_A_PROVIDER: &[(&str, &str)] = &[
    ("", "6: sync.s.auth: missing"),
    (
        "auth = { kind = \"bearr\" }",
        "8: sync.s.auth.kind: unknown value \"bearr\", one of none, bearer, basic, header, client_credentials, \
         jwt_bearer, refresh_token",
    ),
    ("auth = { token_file = \"secret\" }", "8: sync.s.auth.kind: missing"),
    ("auth = { kind = \"none\", token_file = \"secret\" }", "8: sync.s.auth.token_file: unknown key, one of kind"),
    (
        "auth = { kind = \"bearer\" }",
        "8: sync.s.auth.token: missing: one of token_file, token_env and token_credential",
    ),
    (
        "auth = { kind = \"basic\", user = \"a:b\" }",
        "8: sync.s.auth.user: must not hold a colon, which separates it from the password",
    ),
    (
        "auth = { kind = \"basic\" }",
        "8: sync.s.auth.user: missing: user, or one of user_file, user_env and user_credential",
    ),
    (
        "auth = { kind = \"basic\", user = \"a\", user_file = \"secret\" }",
        "8: sync.s.auth.user_file: user is given already: keep one of them",
    ),
    (
        "auth = { kind = \"header\", name = \"a b\", value_file = \"secret\" }",
        "8: sync.s.auth.name: is no name of a header",
    ),
    (
        "auth = { kind = \"header\", name = \"host\", value_file = \"secret\" }",
        "8: sync.s.auth.name: is a header that the gateway sets itself",
    ),
    (
        "auth = { kind = \"jwt_bearer\", token_url = \"https://t.example\", issuer = \"i\", audience = \"a\", \
         private_key_file = \"secret\" }",
        "8: sync.s.auth.private_key: is no private key in PEM for RS256",
    ),
    (
        "auth = { kind = \"jwt_bearer\", token_url = \"https://t.example\", issuer = \"i\", audience = \"a\", \
         private_key_file = \"ec.pem\", algorithm = \"HS256\" }",
        "8: sync.s.auth.algorithm: unknown value \"HS256\", one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, \
         ES384, EdDSA",
    ),
    (
        "auth = { kind = \"client_credentials\", token_url = \"http://t.example\", client_id = \"i\", \
         client_secret_file = \"secret\" }",
        "8: sync.s.auth.token_url: would send the credential unencrypted: use https://, or set allow_http = true",
    ),
    (
        "auth.kind = \"none\"\nbase_url = \"https://u:p@x.example\"",
        "9: sync.s.base_url: must not hold a user or a password: use auth",
    ),
    (
        "auth.kind = \"none\"\nbase_url = \"http://x.example\"",
        "9: sync.s.base_url: would send the credential unencrypted: use https://, or set allow_http = true",
    ),
    (
        "auth.kind = \"none\"\nheaders = { authorization = \"x\" }",
        "9: sync.s.headers.authorization: carries a credential: use auth",
    ),
    ("auth.kind = \"none\"\nheaders = { a = \"x\", A = \"y\" }", "9: sync.s.headers.a: is given twice"),
    (
        "auth.kind = \"none\"\nheaders = { a = \"x\\ny\" }",
        "9: sync.s.headers.a: holds characters that a header cannot carry",
    ),
    ("auth.kind = \"none\"\nheaders = { a = 1 }", "9: sync.s.headers.a: must be a string, not integer"),
    ("auth.kind = \"none\"\nrequest_timeout = \"51s\"", "9: sync.s.request_timeout: must not be longer than timeout"),
    ("auth.kind = \"none\"\nca_file = \"secret\"", "9: sync.s.ca_file: secret holds no certificates in PEM"),
    ("auth.kind = \"none\"\nallow_http = 1", "9: sync.s.allow_http: must be true or false, not integer"),
];

#[test]
fn each_wrong_key_of_a_provider_is_named() {
    let folder = Folder::new();
    for (text, expected) in OF_A_PROVIDER {
        let text = format!("{SMALLEST}[sync.s]\nprovider = \"stripe\"\n{text}\n");
        assert_eq!(folder.faults(&text), format!("gateway.toml:{expected}"), "{text}");
    }
}

#[test]
fn one_run_names_all_faults_by_line() {
    let text =
        "listen = 1\n[token.app]\nsyncs = [\"crm\"]\nfile = \"none\"\n[sync.dev]\nprovider = \"memory\"\nx = 1\n";
    let expected = "gateway.toml:1: listen: must be a string, not integer\n\
                    gateway.toml:3: token.app.syncs: unknown sync \"crm\"\n\
                    gateway.toml:4: token.app.file: none cannot be read: No such file or directory (os error 2)\n\
                    gateway.toml:7: sync.dev.x: unknown key, one of limit, timeout, provider";
    assert_eq!(Folder::new().faults(text), expected);
    let expected = "gateway.toml:1: sync: missing: at least one [sync.NAME]\n\
                    gateway.toml:1: token: missing: at least one [token.NAME]";
    assert_eq!(Folder::new().faults(""), expected);
}

#[test]
fn a_text_that_is_no_toml_is_named_by_line() {
    let faults = Folder::new().faults("a = 1\nb = \nc = 2\n[x\n");
    let lines: Vec<&str> = faults.lines().map(|line| &line[.."gateway.toml:2:".len()]).collect();
    assert!(lines.contains(&"gateway.toml:2:") && lines.contains(&"gateway.toml:4:"), "{faults}");
}

/// What follows `[sync.s]` with the provider "rest", which begins in line 6, and the faults. Line 10 is its first one.
const OF_REST: &[(&str, &str)] = &[
    ("", "6: sync.s.collection: missing"),
    ("collection = 7", "10: sync.s.collection: must be a table, not integer"),
    ("collection = {}", "6: sync.s.collection: is empty: a collection is [sync.NAME.collection.TYPE]"),
    ("collection.c = 7", "10: sync.s.collection.c: invalid type: integer `7`, expected a table"),
    (
        "[sync.s.collection.c]\ncreate = { methd = \"POST\", path = \"/\" }",
        "11: sync.s.collection.c.create.methd: unknown field `methd`, expected one of `method`, `path`, `id`, \
         `headers`, `body`, `encoding`, `applied`, `already`, `gone`, `reply`, `existing`, `any_body`",
    ),
    (
        "[sync.s.collection.c]\ncreate = { method = \"POST\", path = \"/{nothing}\" }",
        "11: sync.s.collection.c.create.path: has the unknown slot {nothing}: there are data, data/POINTER, \
         upstream_id, key and key:LENGTH",
    ),
    (
        "[sync.s.collection.c]\ndelete = 7\n[sync.s.collection.d]\ndelete = 8",
        "11: sync.s.collection.c.delete: invalid type: integer `7`, expected a table\n\
         gateway.toml:13: sync.s.collection.d.delete: invalid type: integer `8`, expected a table",
    ),
];

#[test]
fn each_wrong_key_of_a_collection_is_named() {
    let folder = Folder::new();
    for (text, expected) in OF_REST {
        let text = format!(
            "{SMALLEST}[sync.s]\nprovider = \"rest\"\nbase_url = \"https://r.example\"\nauth.kind = \"none\"\n{text}\n"
        );
        assert_eq!(folder.faults(&text), format!("gateway.toml:{expected}"), "{text}");
    }
}
