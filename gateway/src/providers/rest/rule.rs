//! Which replies mean what: a status, and if need be a value in the body.

use serde_json::value::RawValue;

use super::description::When;
use crate::providers::json::{self, Pointer};

/// What a rule says about the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Applied,
    /// An earlier attempt applied it.
    Already,
    Gone,
    Limited,
    Rejected,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub status: u16,
    /// None: the status alone.
    pub test: Option<(Pointer, Test)>,
    pub verdict: Verdict,
}

/// What is asked of a value. Null counts as no value.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    Exists,
    Absent,
    Text(String),
    /// A number, true or false, as it is written.
    Word(String),
    Contains(String),
}

impl Rule {
    /// # Errors
    /// What is wrong with the description.
    pub fn new(when: &When, verdict: Verdict) -> Result<Rule, String> {
        if !(100..=599).contains(&when.status) {
            return Err(format!("{} is no HTTP status", when.status));
        }
        let has_test = when.equals.is_some() || when.contains.is_some() || when.absent;
        let Some(at) = &when.at else {
            return match has_test {
                true => Err("needs `at`, a pointer into the body".into()),
                false => Ok(Rule { status: when.status, test: None, verdict }),
            };
        };
        let pointer = at.parse().map_err(|error| format!("the pointer {at:?} {error}"))?;
        let test = match (&when.equals, &when.contains, when.absent) {
            (None, None, false) => Test::Exists,
            (None, None, true) => Test::Absent,
            (None, Some(part), false) => Test::Contains(part.clone()),
            (Some(toml::Value::String(text)), None, false) => Test::Text(text.clone()),
            (Some(toml::Value::Integer(number)), None, false) => Test::Word(number.to_string()),
            (Some(toml::Value::Boolean(truth)), None, false) => Test::Word(truth.to_string()),
            (Some(_), None, false) => return Err("`equals` must be a text, a whole number, true or false".into()),
            _ => return Err("may have one of `equals`, `contains` and `absent`".into()),
        };
        Ok(Rule { status: when.status, test: Some((pointer, test)), verdict })
    }

    fn fits(&self, status: u16, body: Option<&RawValue>) -> bool {
        let test = |(pointer, test): &(Pointer, Test)| body.is_some_and(|body| test.holds(json::at(body, pointer)));
        self.status == status && self.test.as_ref().is_none_or(test)
    }
}

impl Test {
    fn holds(&self, value: Option<&RawValue>) -> bool {
        let value = value.filter(|value| value.get() != "null");
        let text = || value.and_then(json::text);
        match self {
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::Text(wanted) => text().is_some_and(|text| text == *wanted),
            Test::Contains(part) => text().is_some_and(|text| text.contains(part)),
            Test::Word(word) => value.is_some_and(|value| value.get() == word),
        }
    }
}

/// The verdict of the first rule that fits. Rules that look into the body come first.
pub fn verdict(rules: &[Rule], status: u16, body: Option<&RawValue>) -> Option<Verdict> {
    let fitting = |has_test| rules.iter().find(|rule| rule.test.is_some() == has_test && rule.fits(status, body));
    fitting(true).or_else(|| fitting(false)).map(|rule| rule.verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(toml: &str, verdict: Verdict) -> Result<Rule, String> {
        #[derive(serde::Deserialize)]
        struct One {
            when: When,
        }
        let one: One = toml::from_str(&format!("when = {toml}")).map_err(|error| error.to_string())?;
        Rule::new(&one.when, verdict)
    }

    #[test]
    fn a_rule_looks_at_the_status_and_the_body() {
        for (when, status, body, fits) in [
            ("404", 404, "", true),
            ("404", 404, "{}", true),
            ("404", 400, "", false),
            (r#"{ status = 400, at = "/a" }"#, 400, r#"{"a":0}"#, true),
            (r#"{ status = 400, at = "/a" }"#, 400, r#"{"a":null}"#, false),
            (r#"{ status = 400, at = "/a" }"#, 400, "", false),
            (r#"{ status = 400, at = "/a" }"#, 409, r#"{"a":0}"#, false),
            (r#"{ status = 200, at = "/0", absent = true }"#, 200, "[]", true),
            (r#"{ status = 200, at = "/0", absent = true }"#, 200, "[null]", true),
            (r#"{ status = 200, at = "/0", absent = true }"#, 200, "[1]", false),
            (r#"{ status = 200, at = "/0", absent = true }"#, 200, "no JSON", false),
            (r#"{ status = 400, at = "/c", equals = "23505" }"#, 400, r#"{"c":"23505"}"#, true),
            (r#"{ status = 400, at = "/c", equals = "23505" }"#, 400, r#"{"c":23505}"#, false),
            (r#"{ status = 400, at = "/c", equals = 7 }"#, 400, r#"{"c":7}"#, true),
            (r#"{ status = 400, at = "/c", equals = 7 }"#, 400, r#"{"c":"7"}"#, false),
            (r#"{ status = 200, at = "/ok", equals = false }"#, 200, r#"{"ok":false}"#, true),
            (r#"{ status = 409, at = "/m", contains = "_pkey" }"#, 409, r#"{"m":"x \"a_pkey\""}"#, true),
            (r#"{ status = 409, at = "/m", contains = "_pkey" }"#, 409, r#"{"m":"x_email"}"#, false),
        ] {
            let rules = [rule(when, Verdict::Gone).unwrap()];
            let got = verdict(&rules, status, json::document(body.as_bytes()));
            assert_eq!(got, fits.then_some(Verdict::Gone), "{when} {status} {body}");
        }
    }

    #[test]
    fn a_rule_that_looks_into_the_body_outranks_a_status() {
        let rules = [
            rule("409", Verdict::Rejected).unwrap(),
            rule(r#"{ status = 409, at = "/mine", equals = true }"#, Verdict::Already).unwrap(),
        ];
        let judge = |body: &str| verdict(&rules, 409, json::document(body.as_bytes()));
        assert_eq!(judge(r#"{"mine":true}"#), Some(Verdict::Already));
        assert_eq!(judge(r#"{"mine":false}"#), Some(Verdict::Rejected));
        assert_eq!(judge("<html>"), Some(Verdict::Rejected));
    }

    #[test]
    fn a_rule_that_cannot_be_followed_is_an_error() {
        for (when, want) in [
            ("99", "is no HTTP status"),
            ("700", "is no HTTP status"),
            ("-1", "is no HTTP status"),
            (r#""200""#, "a status, or a table"),
            (r#"{ status = 200, equals = 1 }"#, "needs `at`"),
            (r#"{ status = 200, at = "a" }"#, "begin with a slash"),
            (r#"{ status = 200, at = "/a", equals = 1.5 }"#, "whole number"),
            (r#"{ status = 200, at = "/a", equals = [1] }"#, "whole number"),
            (r#"{ status = 200, at = "/a", equals = 1, absent = true }"#, "one of"),
            (r#"{ status = 200, at = "/a", is = 1 }"#, "unknown field"),
            (r#"{ at = "/a" }"#, "missing field"),
        ] {
            let error = rule(when, Verdict::Gone).unwrap_err();
            assert!(error.contains(want), "{when}: {error}");
        }
    }
}
