//! Who may call, and which syncs there are: one value, so that a reload replaces all of it at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::HeaderMap;
use mutation_api::bearer::KnownTokens;
use secrecy::ExposeSecret;

use super::account::{Account, AccountError};
use crate::config::Config;

pub struct Directory {
    tokens: KnownTokens<Arc<Holder>>,
    pub accounts: BTreeMap<Arc<str>, Arc<Account>>,
    /// Bytes in a request's body.
    pub max_body: usize,
}

/// A client that has shown a token.
#[derive(Debug)]
pub struct Holder {
    /// The token's name in the configuration.
    pub name: Arc<str>,
    syncs: BTreeSet<String>,
}

/// A sync cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
#[error("sync.{sync_id}: {cause}")]
pub struct BuildError {
    pub sync_id: String,
    pub cause: AccountError,
}

impl Directory {
    /// # Errors
    /// Names the sync that cannot be used.
    pub fn new(config: &Config, earlier: Option<&Directory>) -> Result<Directory, BuildError> {
        let mut accounts = BTreeMap::new();
        for (sync_id, sync) in &config.syncs {
            let earlier = earlier.and_then(|earlier| earlier.accounts.get(&**sync_id)).map(Arc::as_ref);
            let account = Account::new(sync_id, sync, earlier);
            let account = account.map_err(|cause| BuildError { sync_id: sync_id.clone(), cause })?;
            accounts.insert(sync_id.as_str().into(), Arc::new(account));
        }
        let tokens = config.tokens.iter().map(|token| {
            let holder = Holder { name: token.name.as_str().into(), syncs: token.syncs.clone() };
            (token.secret.expose_secret(), Arc::new(holder))
        });
        Ok(Directory { tokens: KnownTokens::new(tokens), accounts, max_body: config.max_body })
    }

    /// The client with the token in these headers. None: answer 401.
    pub fn holder(&self, headers: &HeaderMap) -> Option<Arc<Holder>> {
        self.tokens.holder(headers).cloned()
    }

    /// The sync of this id, if the client may see it.
    pub fn account(&self, holder: &Holder, sync_id: &str) -> Option<Arc<Account>> {
        self.accounts.get(sync_id).filter(|_| holder.syncs.contains(sync_id)).cloned()
    }
}
