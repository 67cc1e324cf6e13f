//! Any text is a configuration, or has faults with lines. Nothing panics.

use gateway::config::{Machine, parse};
use proptest::prelude::*;

use super::{Folder, SMALLEST};

/// Pieces of correct files, so that random texts reach deep.
const PIECES: &[&str] = &[
    "[sync.s]\n",
    "[token.t]\n",
    "[sync.s.auth]\n",
    "[sync.s.limit]\n",
    "[sync.s.headers]\n",
    "[tls]\n",
    "[clients]\n",
    "provider = \"stripe\"\n",
    "provider = \"rest\"\n",
    "provider = \"memory\"\n",
    "kind = \"bearer\"\n",
    "kind = \"jwt_bearer\"\n",
    "token_file = \"app.token\"\n",
    "file = \"app.token\"\n",
    "env = \"PATH\"\n",
    "syncs = [\"s\"]\n",
    "syncs = [1, \"ä\"]\n",
    "[sync.s.collection.c]\n",
    "create = { method = \"POST\", path = \"/\" }\n",
    "timeout = \"1s\"\n",
    "x = 1\n",
    "auth = 7\n",
    "per_second = inf\n",
    "a.b = 2\n",
    "[[sync]]\n",
    "\"\\u0000\" = 1\n",
];

fn is_config_or_faults(folder: &Folder, text: &str) {
    match parse("g.toml", text, &Machine::around(&folder.path("g.toml"))) {
        Ok(config) => {
            // No section was left out in silence.
            let table: toml::Table = text.parse().unwrap();
            let names = |key: &str| table[key].as_table().unwrap().keys().cloned().collect::<Vec<String>>();
            assert!(config.syncs.keys().eq(&names("sync")), "{text:?}");
            assert!(config.tokens.iter().map(|token| &token.name).eq(&names("token")), "{text:?}");
        }
        Err(faults) => {
            let lines = text.lines().count() + 1;
            let is_in_text = |line: Option<usize>| line.is_some_and(|line| (1..=lines).contains(&line));
            assert!(faults.lines().count() > 0 && faults.lines().all(is_in_text), "{text:?}: {faults}");
        }
    }
}

proptest! {
    #[test]
    fn random_texts(text in ".*") {
        is_config_or_faults(&Folder::new(), &text);
    }

    #[test]
    fn random_pieces(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..12)) {
        is_config_or_faults(&Folder::new(), &pieces.concat());
    }

    #[test]
    fn random_pieces_after_a_correct_text(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..6)) {
        is_config_or_faults(&Folder::new(), &format!("{SMALLEST}{}", pieces.concat()));
    }

    #[test]
    fn a_correct_text_with_one_change(at in 0..SMALLEST.len(), byte in 0_u8..128) {
        let mut text = SMALLEST.as_bytes().to_vec();
        text[at] = byte;
        is_config_or_faults(&Folder::new(), str::from_utf8(&text).unwrap());
    }
}
