//! The body of a request as the configuration describes it: JSON whose texts are templates.

use mutation_api::json::Fields;
use serde_json::value::RawValue;

use super::template::{Filling, Slot, Template};
use crate::providers::Refusal;

/// The key of an object whose value `{data}` stands for all fields of the data.
const SPREAD: &str = "...";

/// A described body.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// `{data}` alone: the data as it was sent.
    Data,
    Text(Template),
    /// JSON of a number, true or false.
    Constant(String),
    Array(Vec<Body>),
    Object {
        /// Whether the fields of the data come before the others.
        has_data: bool,
        fields: Vec<(String, Body)>,
    },
}

impl Body {
    /// # Errors
    /// What is wrong with the description.
    pub fn parse(value: &toml::Value) -> Result<Body, String> {
        use toml::Value;
        Ok(match value {
            Value::String(text) => {
                let template = Template::parse(text)?;
                match template.only_slot() {
                    Some(Slot::Data) => Body::Data,
                    _ if template.slots().any(|slot| matches!(slot, Slot::Data | Slot::Member(_))) => {
                        return Err("{data} must be a whole text, and data/POINTER is for paths and headers".into());
                    }
                    _ => Body::Text(template),
                }
            }
            Value::Integer(number) => Body::Constant(number.to_string()),
            Value::Float(number) if number.is_finite() => Body::Constant(number.to_string()),
            Value::Float(_) => return Err("JSON has no such number".into()),
            Value::Boolean(truth) => Body::Constant(truth.to_string()),
            Value::Datetime(time) => Body::Text(Template::parse(&time.to_string())?),
            Value::Array(list) => Body::Array(list.iter().map(Body::parse).collect::<Result<_, _>>()?),
            Value::Table(table) => {
                let has_data = match table.get(SPREAD) {
                    None => false,
                    Some(value) if value.as_str() == Some("{data}") => true,
                    Some(_) => return Err(format!("the key {SPREAD:?} stands for \"{{data}}\" only")),
                };
                let fields = table.iter().filter(|(name, _)| *name != SPREAD);
                let fields = fields.map(|(name, value)| Ok::<_, String>((name.clone(), Body::parse(value)?)));
                Body::Object { has_data, fields: fields.collect::<Result<_, _>>()? }
            }
        })
    }

    /// Whether the data has a place in it.
    pub fn has_data(&self) -> bool {
        match self {
            Body::Data => true,
            Body::Text(_) | Body::Constant(_) => false,
            Body::Array(list) => list.iter().any(Body::has_data),
            Body::Object { has_data, fields } => *has_data || fields.iter().any(|(_, value)| value.has_data()),
        }
    }

    /// The slots of its texts.
    pub fn slots(&self) -> Vec<&Slot> {
        match self {
            Body::Data | Body::Constant(_) => Vec::new(),
            Body::Text(template) => template.slots().collect(),
            Body::Array(list) => list.iter().flat_map(Body::slots).collect(),
            Body::Object { fields, .. } => fields.iter().flat_map(|(_, value)| value.slots()).collect(),
        }
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// A slot has no value, or the data has a field that the description sets.
    pub fn fill(&self, filling: &Filling<'_>) -> Result<Box<RawValue>, Refusal> {
        let mut json = String::new();
        self.write(filling, &mut json)?;
        RawValue::from_string(json).map_err(|_| Refusal::new("the body is no JSON"))
    }

    fn write(&self, filling: &Filling<'_>, json: &mut String) -> Result<(), Refusal> {
        match self {
            Body::Data => json.push_str(data(filling)?.get()),
            Body::Text(template) => json.push_str(&quoted(&filling.plain(template)?)?),
            Body::Constant(constant) => json.push_str(constant),
            Body::Array(list) => {
                json.push('[');
                for (at, value) in list.iter().enumerate() {
                    json.push_str(if at > 0 { "," } else { "" });
                    value.write(filling, json)?;
                }
                json.push(']');
            }
            Body::Object { has_data, fields } => {
                json.push('{');
                if *has_data {
                    spread(data(filling)?, fields, json)?;
                }
                for (name, value) in fields {
                    json.push_str(if json.ends_with('{') { "" } else { "," });
                    json.push_str(&quoted(name)?);
                    json.push(':');
                    value.write(filling, json)?;
                }
                json.push('}');
            }
        }
        Ok(())
    }
}

fn data<'a>(filling: &Filling<'a>) -> Result<&'a RawValue, Refusal> {
    filling.data.ok_or_else(|| Refusal::new("a delete has no data"))
}

/// Writes the fields of the data, none of which may be a field of the description: one of both would be lost.
fn spread(data: &RawValue, described: &[(String, Body)], json: &mut String) -> Result<(), Refusal> {
    let fields = Fields::parse(data).ok_or_else(|| Refusal::new("the data must be an object with readable keys"))?;
    if let Some((name, _)) = fields.0.iter().find(|(name, _)| described.iter().any(|(set, _)| set == name)) {
        return Err(Refusal::new(&format!("the data must not have {name:?}: the gateway sets it")));
    }
    let inner = data.get().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
    json.push_str(inner.trim());
    Ok(())
}

fn quoted(text: &str) -> Result<String, Refusal> {
    serde_json::to_string(text).map_err(|_| Refusal::new("a text is no JSON"))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn parse(toml: &str) -> Result<Body, String> {
        let table: toml::Table = toml.parse().unwrap();
        Body::parse(&table["body"])
    }

    #[test]
    fn a_body_is_json_with_the_data_in_its_place() {
        let raw = r#"{"a": 1.50, "b":{"c":12345678901234567890}, "a":2}"#;
        for (toml, data, want) in [
            (r#"body = "{data}""#, raw, raw),
            (r#"body = { data = "{data}" }"#, raw, &*format!(r#"{{"data":{raw}}}"#)),
            (r#"body = ["{data}"]"#, raw, &*format!("[{raw}]")),
            (
                r#"body = { data = { type = "c", id = "{upstream_id}", attributes = "{data}" } }"#,
                "{}",
                r#"{"data":{"attributes":{},"id":"a\"b","type":"c"}}"#,
            ),
            (
                r#"body = { "..." = "{data}", id = "{key:15}", n = 1, x = 1.5, t = true, l = [1, "u{key}"] }"#,
                r#"{ "é" : 1.50 }"#,
                concat!(
                    r#"{"é" : 1.50,"id":"00000000000000z","l":[1,"u00000000-0000-0000-0000-000000000023"],"#,
                    r#""n":1,"t":true,"x":1.5}"#,
                ),
            ),
            (r#"body = { "..." = "{data}", a = "{{}}" }"#, "{}", r#"{"a":"{}"}"#),
            (r#"body = { "..." = "{data}" }"#, "{ }", "{}"),
            (r#"body = { when = 2026-12-01T00:00:00Z }"#, "{}", r#"{"when":"2026-12-01T00:00:00Z"}"#),
        ] {
            let data = RawValue::from_string(data.into()).unwrap();
            let filling = Filling { key: Some(&Uuid::from_u128(35)), upstream_id: Some("a\"b"), data: Some(&data) };
            assert_eq!(parse(toml).unwrap().fill(&filling).unwrap().get(), want, "{toml}");
        }
    }

    #[test]
    fn a_field_that_the_description_sets_is_refused_in_the_data() {
        let body = parse(r#"body = { "..." = "{data}", id = "{key}" }"#).unwrap();
        let data = RawValue::from_string(r#"{"\u0069d":1}"#.into()).unwrap();
        let filling = Filling { key: Some(&Uuid::nil()), upstream_id: None, data: Some(&data) };
        assert!(body.fill(&filling).unwrap_err().message.contains("must not have \"id\""));
        assert!(body.fill(&Filling { data: None, ..filling }).is_err());
    }

    #[test]
    fn what_cannot_be_filled_is_an_error_at_start() {
        for (toml, want) in [
            (r#"body = "x{data}""#, "must be a whole text"),
            (r#"body = { a = "{data/b}" }"#, "is for paths and headers"),
            (r#"body = { "..." = "{key}" }"#, "stands for"),
            (r#"body = { "..." = 1 }"#, "stands for"),
            (r#"body = [inf]"#, "no such number"),
            (r#"body = { a = ["{x}"] }"#, "unknown slot {x}"),
        ] {
            let error = parse(toml).unwrap_err();
            assert!(error.contains(want), "{toml}: {error}");
        }
        for (toml, has_data) in [
            (r#"body = "{data}""#, true),
            (r#"body = [{ a = "{data}" }]"#, true),
            (r#"body = { "..." = "{data}" }"#, true),
            (r#"body = { a = "data" }"#, false),
        ] {
            assert_eq!(parse(toml).unwrap().has_data(), has_data, "{toml}");
        }
    }
}
