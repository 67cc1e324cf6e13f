//! PocketBase, in a directory of its own. It chooses ids, unless a create brings one. A second create with one id is
//! refused as any other wrong field is.

mod model;
mod replies;

use std::fs;
use std::process::Command;

use crate::support::http::{Answer, must};
use crate::support::product::{Product, directory, installed, launcher};

const USER: &str = "gateway@judges.example";
const PASSWORD: &str = "not a secret";

/// A running PocketBase with the empty collections of `launch/pocketbase.js`.
pub struct PocketBase {
    product: Product,
    token: String,
}

impl PocketBase {
    pub fn start() -> PocketBase {
        let dir = directory();
        let program = installed("venv/bin/pocketbase");
        fs::create_dir(dir.path().join("migrations")).expect("an empty directory");
        fs::copy(launcher("pocketbase.js"), dir.path().join("migrations/1_contacts.js")).expect("a copy");
        let options = ["--dir", "data", "--migrationsDir", "migrations"];
        let mut superuser = Command::new(&program);
        superuser.args(["superuser", "upsert", USER, PASSWORD]).args(options).current_dir(dir.path());
        let made = superuser.output().expect("PocketBase runs");
        assert!(made.status.success(), "{made:?}");
        let mut command = Command::new(program);
        command.args(["serve", "--http", "127.0.0.1:0", "--automigrate=false"]).args(options);
        let product = Product::start("pocketbase", &command, dir);
        let login = format!(r#"{{"identity":"{USER}","password":"{PASSWORD}"}}"#);
        let login_url = format!("{}/api/collections/_superusers/auth-with-password", product.url());
        let login = must("POST", &login_url, &[("content-type", "application/json")], Some(&login));
        let token = login.at("/token").as_str().expect("a token").to_owned();
        PocketBase { product, token }
    }

    /// The base URL of its API.
    pub fn url(&self) -> String {
        format!("{}/api", self.product.url())
    }

    /// What follows `Bearer`.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Asks it directly, for what must work.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let authorization = format!("Bearer {}", self.token);
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        must(method, &format!("{}{path}", self.url()), &headers, body)
    }
}
