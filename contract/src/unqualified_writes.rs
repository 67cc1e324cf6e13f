//! Finds the tables that the body of a function writes by an unqualified name.
//!
//! Postgres resolves such a name in the current search_path. The write-back runs with a search_path without user schemas, so
//! a trigger function that writes an unqualified name fails there. `sequin_attach` warns about it.
//!
//! The module reads SQL as tokens. It recognizes comments, strings and quoted names, but not SQL in a string that EXECUTE
//! runs.

use std::collections::BTreeSet;

/// A token of SQL. `Other` is any token that the search ignores.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A bare word in lower case.
    Word(String),
    /// A name between double quotes, without them.
    Quoted(String),
    Dot,
    Other,
}

/// The tables that `body` writes without a schema, each once, sorted, spelled as in the catalogs.
pub fn written_without_schema(body: &str) -> Vec<String> {
    let tokens = tokens(body);
    let temporary = temporary_tables(&tokens);
    let mut names = BTreeSet::new();
    for (place, token) in tokens.iter().enumerate() {
        let Token::Word(word) = token else { continue };
        let after = match word.as_str() {
            "insert" | "merge" if is_word(&tokens, place + 1, "into") => place + 2,
            "delete" if is_word(&tokens, place + 1, "from") => place + 2,
            // FOR UPDATE, FOR NO KEY UPDATE and ON UPDATE are not writes.
            "update" if !["for", "key", "on"].iter().any(|word| place > 0 && is_word(&tokens, place - 1, word)) => {
                place + 1
            }
            _ => continue,
        };
        let after = if is_word(&tokens, after, "only") { after + 1 } else { after };
        let name = match tokens.get(after) {
            // ON CONFLICT DO UPDATE SET, WHEN MATCHED THEN UPDATE SET: the statement has named its table already.
            Some(Token::Word(word)) if word == "set" && !is_word(&tokens, after + 1, "set") => continue,
            Some(Token::Word(name) | Token::Quoted(name)) => name,
            _ => continue,
        };
        if tokens.get(after + 1) != Some(&Token::Dot) && !temporary.contains(name.as_str()) {
            names.insert(name.clone());
        }
    }
    names.into_iter().collect()
}

/// The temporary tables that the body creates. Postgres finds them under any search_path.
fn temporary_tables(tokens: &[Token]) -> BTreeSet<&str> {
    let starts = (0..tokens.len()).filter(|&place| {
        is_word(tokens, place, "create")
            && (is_word(tokens, place + 1, "temp") || is_word(tokens, place + 1, "temporary"))
            && is_word(tokens, place + 2, "table")
    });
    let named = starts.filter_map(|start| {
        let name = if is_word(tokens, start + 3, "if") { start + 6 } else { start + 3 };
        match tokens.get(name) {
            Some(Token::Word(name) | Token::Quoted(name)) => Some(name.as_str()),
            _ => None,
        }
    });
    named.collect()
}

fn is_word(tokens: &[Token], place: usize, word: &str) -> bool {
    matches!(tokens.get(place), Some(Token::Word(found)) if found == word)
}

fn tokens(body: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = body;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            _ if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => comment(rest),
            '\'' => string(rest, false),
            'e' | 'E' if rest[1..].starts_with('\'') => 1 + string(&rest[1..], true),
            '$' => dollar_quoted(rest).unwrap_or(1),
            '"' => {
                let length = quoted(rest);
                let name = rest[1..length].strip_suffix('"').unwrap_or(&rest[1..length]);
                tokens.push(Token::Quoted(name.replace("\"\"", "\"")));
                length
            }
            first if first.is_alphabetic() || first == '_' => {
                let is_end = |c: char| !(c.is_alphanumeric() || c == '_' || c == '$');
                let length = rest.find(is_end).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..length].to_lowercase()));
                length
            }
            first if first.is_whitespace() => first.len_utf8(),
            '.' => {
                tokens.push(Token::Dot);
                1
            }
            first => {
                tokens.push(Token::Other);
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of the comment at the beginning of `text`. Comments nest.
fn comment(text: &str) -> usize {
    let (mut depth, mut place) = (0_usize, 0);
    let bytes = text.as_bytes();
    while place < bytes.len() {
        match &bytes[place..] {
            [b'/', b'*', ..] => {
                depth += 1;
                place += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                place += 2;
                if depth == 0 {
                    return place;
                }
            }
            _ => place += 1,
        }
    }
    text.len()
}

/// The length of the string at the beginning of `text`.
fn string(text: &str, has_escapes: bool) -> usize {
    let bytes = text.as_bytes();
    let mut place = 1;
    while place < bytes.len() {
        match bytes[place] {
            b'\\' if has_escapes => place += 2,
            b'\'' if bytes.get(place + 1) == Some(&b'\'') => place += 2,
            b'\'' => return place + 1,
            _ => place += 1,
        }
    }
    text.len()
}

/// The length of the quoted name at the beginning of `text`.
fn quoted(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut place = 1;
    while place < bytes.len() {
        match bytes[place] {
            b'"' if bytes.get(place + 1) == Some(&b'"') => place += 2,
            b'"' => return place + 1,
            _ => place += 1,
        }
    }
    text.len()
}

/// The length of the dollar-quoted string at the beginning of `text`. `None` if the dollar does not begin one.
fn dollar_quoted(text: &str) -> Option<usize> {
    let end = 1 + text[1..].find('$')?;
    let tag = &text[..=end];
    let inside = &tag[1..end];
    let is_tag =
        inside.chars().all(|c| c.is_alphanumeric() || c == '_') && !inside.starts_with(|c: char| c.is_numeric());
    is_tag.then(|| text[tag.len()..].find(tag).map_or(text.len(), |close| close + 2 * tag.len()))
}

#[cfg(test)]
mod tests {
    use super::written_without_schema;

    #[test]
    fn names_that_a_body_writes_without_a_schema() {
        for (body, expected) in [
            ("BEGIN INSERT INTO audit VALUES (NEW.id); RETURN NEW; END", &["audit"][..]),
            ("BEGIN insert\n\tinto Audit(a) SELECT 1; END", &["audit"]),
            ("BEGIN INSERT INTO log.audit VALUES (1); END", &[]),
            ("INSERT INTO log . audit VALUES (1)", &[]),
            ("INSERT INTO \"Audit Log\" VALUES (1)", &["Audit Log"]),
            ("INSERT INTO \"a\"\"b\" VALUES (1)", &["a\"b"]),
            ("INSERT INTO \"Log\".\"Audit\" VALUES (1)", &[]),
            ("UPDATE counters SET n = n + 1", &["counters"]),
            ("UPDATE ONLY counters AS c SET n = 1", &["counters"]),
            ("IF TG_OP = 'UPDATE' THEN UPDATE counters SET n = 1; END IF", &["counters"]),
            ("UPDATE app.counters SET n = 1", &[]),
            ("DELETE FROM cache WHERE id = OLD.id", &["cache"]),
            ("DELETE FROM ONLY cache", &["cache"]),
            ("MERGE INTO totals t USING x ON true WHEN MATCHED THEN UPDATE SET n = 1", &["totals"]),
            ("MERGE INTO app.totals t USING x ON true WHEN MATCHED THEN DELETE", &[]),
            ("INSERT INTO app.t VALUES (1) ON CONFLICT (id) DO UPDATE SET n = excluded.n", &[]),
            ("INSERT INTO b VALUES (1); INSERT INTO a VALUES (1); DELETE FROM b", &["a", "b"]),
            ("WITH gone AS (DELETE FROM queue RETURNING *) INSERT INTO app.log SELECT * FROM gone", &["queue"]),
            // Reads.
            ("SELECT * FROM t WHERE id = NEW.id FOR UPDATE", &[]),
            ("SELECT * FROM t FOR NO KEY UPDATE OF t", &[]),
            ("NEW.updated_at := now(); RETURN NEW", &[]),
            ("SELECT count(*) INTO n FROM t", &[]),
            // Comments and strings.
            ("-- INSERT INTO audit VALUES (1)\nRETURN NEW", &[]),
            ("/* INSERT /* INTO */ audit */ RETURN NEW", &[]),
            ("/* never closed INSERT INTO audit", &[]),
            ("RAISE NOTICE 'INSERT INTO audit'", &[]),
            ("RAISE NOTICE 'it''s INSERT INTO audit'", &[]),
            (r"RAISE NOTICE E'\' INSERT INTO audit'", &[]),
            ("RAISE NOTICE 'never closed INSERT INTO audit", &[]),
            ("RAISE NOTICE $x$ INSERT INTO audit $x$; INSERT INTO b VALUES ($1)", &["b"]),
            ("PERFORM $$ $x$ INSERT INTO audit $x$ $$", &[]),
            ("EXECUTE 'INSERT INTO audit VALUES (1)'", &[]),
            ("EXECUTE format('INSERT INTO %I VALUES (1)', TG_ARGV[0])", &[]),
            ("EXECUTE \"INSERT INTO audit\"", &[]),
            // Temporary tables.
            ("CREATE TEMP TABLE IF NOT EXISTS scratch (id int); INSERT INTO scratch VALUES (1)", &[]),
            ("CREATE TEMPORARY TABLE \"S\" (id int); DELETE FROM \"S\"; DELETE FROM s", &["s"]),
            ("INSERT INTO pg_temp.scratch VALUES (1)", &[]),
            // Invalid SQL.
            ("", &[]),
            ("INSERT INTO", &[]),
            ("UPDATE", &[]),
            ("INSERT INTO (", &[]),
            ("\"", &[]),
            ("$", &[]),
            ("$1$", &[]),
            ("E", &[]),
            ("INSERT INTO größe VALUES ('é')", &["größe"]),
        ] {
            assert_eq!(written_without_schema(body), expected, "{body}");
        }
    }
}
