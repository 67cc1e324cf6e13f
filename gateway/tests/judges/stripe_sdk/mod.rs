//! Stripe's own SDK posts random data to a recorder: the gateway sends the same bytes.
//!
//! `SEQUIN_JUDGES_SEED` repeats a run, `SEQUIN_JUDGES_ROUNDS` is the number of objects.

use std::io::Write;
use std::process::{Command, Stdio};

use gateway::providers::stripe::Stripe;
use gateway::providers::{Provider, ProviderRequest};
use mutation_api::request::{Change, Mutation, NewRecord};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::support::product::{installed, launcher};
use crate::support::variable;

const OBJECTS: usize = 2_000;

#[test]
fn the_gateway_sends_the_bytes_of_the_sdk() {
    let seed = variable("SEQUIN_JUDGES_SEED").unwrap_or_else(rand::random);
    let objects = variable("SEQUIN_JUDGES_ROUNDS").map_or(OBJECTS, |rounds| rounds as usize);
    eprintln!("stripe_sdk: SEQUIN_JUDGES_SEED={seed} SEQUIN_JUDGES_ROUNDS={objects}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let data: Vec<String> = (0..objects).map(|_| object(&mut rng, 0).to_string()).collect();
    for (data, sdk) in data.iter().zip(sent_by_sdk(&data)) {
        let request = planned(data);
        let body = str::from_utf8(&request.body).expect("a form is ASCII");
        assert_eq!(body, sdk.body, "{data}");
        let header = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(header("content-type"), Some(&*sdk.content_type));
        assert_eq!(header("stripe-version"), Some(&*sdk.version));
    }
}

/// The SDK drops these values or garbles them. A key would keep its value at Stripe, and the reply would be 200.
#[test]
fn the_sdk_loses_what_the_gateway_sends() {
    let rows = [
        (r#"{"a":null,"b":1}"#, "b=1", "a=&b=1"),
        (r#"{"a":{"b":null}}"#, "", "a[b]="),
        (r#"{"a":{},"b":{"c":{}}}"#, "", "a=&b[c]="),
        (r#"{"a":[],"b":[[],{}]}"#, "", "a=&b[0]=&b[1]="),
        (r#"{"a":[true,false]}"#, "a[0]=True&a[1]=False", "a[0]=true&a[1]=false"),
        (r#"{"a":[null]}"#, "a[0]=None", "a[0]="),
        (r#"{"a":1.50,"b":1E2}"#, "a=1.5&b=100.0", "a=1.50&b=1E2"),
    ];
    let data: Vec<String> = rows.iter().map(|(data, ..)| (*data).to_owned()).collect();
    for ((data, sdk, gateway), sent) in rows.into_iter().zip(sent_by_sdk(&data)) {
        assert_eq!((&*sent.body, str::from_utf8(&planned(data).body)), (sdk, Ok(gateway)), "{data}");
    }
}

#[test]
fn an_objects_name_leads_to_its_list() {
    let resources = Command::new(installed("venv/bin/python")).arg(launcher("stripe-sdk.py")).arg("resources").output();
    let resources = String::from_utf8(resources.expect("Python runs").stdout).expect("it prints UTF-8");
    let mut count = 0;
    for line in resources.lines() {
        let [name, path]: [String; 2] = serde_json::from_str(line).expect("two texts");
        count += 1;
        let list = path.strip_prefix("/v1/").expect("a path of the first version");
        assert_eq!(planned_in(list, "{}").path, path);
        // The one name that does not say where its list is.
        if name != "apple_pay_domain" {
            assert_eq!(planned_in(&name, "{}").path, path, "{name}");
        }
    }
    assert!(count > 50, "{count}");
}

/// A request of the SDK.
struct Sent {
    body: String,
    content_type: String,
    version: String,
}

fn sent_by_sdk(data: &[String]) -> Vec<Sent> {
    let mut command = Command::new(installed("venv/bin/python"));
    command.arg(launcher("stripe-sdk.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut sdk = command.spawn().expect("Python runs");
    let mut input = sdk.stdin.take().expect("it is piped");
    let lines = data.join("\n") + "\n";
    // It reads and prints by turns, so neither side may wait for the other.
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = sdk.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it has read everything");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("it prints UTF-8");
    let sent = text.lines().map(|line| {
        let [body, content_type, version]: [String; 3] = serde_json::from_str(line).expect("three texts");
        Sent { body, content_type, version }
    });
    let sent: Vec<Sent> = sent.collect();
    assert_eq!(sent.len(), data.len());
    sent
}

fn planned(data: &str) -> ProviderRequest {
    planned_in("customers", data)
}

fn planned_in(collection: &str, data: &str) -> ProviderRequest {
    let data: Box<RawValue> = serde_json::from_str(data).expect("JSON");
    let change = Change::Create(vec![NewRecord { data: std::borrow::Cow::Owned(data) }]);
    let mutation = Mutation { sync_id: "s".into(), collection_id: format!("stripe:{collection}").into(), change };
    let mut requests = Stripe.plan(&mutation, &[Uuid::nil()]).expect("it can be sent");
    requests.remove(0)
}

/// An object without the values that the SDK loses.
fn object(rng: &mut SmallRng, depth: usize) -> Value {
    let fields = rng.random_range(usize::from(depth > 0)..6);
    let fields = (0..fields).map(|_| (name(rng), value(rng, depth + 1, true)));
    Value::Object(Map::from_iter(fields))
}

fn value(rng: &mut SmallRng, depth: usize, may_be_bool: bool) -> Value {
    match rng.random_range(0..if depth < 5 { 9 } else { 6 }) {
        0 | 1 => text(rng).into(),
        2 => rng.random::<i64>().into(),
        3 => json!(rng.random::<u64>()),
        4 => json!(f64::from(rng.random::<i32>()) / 64.0),
        5 if may_be_bool => rng.random::<bool>().into(),
        5 => "".into(),
        6 => {
            let count = rng.random_range(1..4);
            (0..count).map(|_| value(rng, depth + 1, false)).collect()
        }
        _ => object(rng, depth),
    }
}

fn name(rng: &mut SmallRng) -> String {
    loop {
        let name = text(rng);
        if !name.is_empty() && !name.contains(['[', ']']) {
            return name;
        }
    }
}

/// Some of these characters, which encoders treat in different ways.
fn text(rng: &mut SmallRng) -> String {
    const CHARACTERS: &str = "aZ09 -._~*'()!$&=+%;:@/?#[]{}<>\"\\`|^,\n\r\t\0\u{7f}\u{e9}\u{6f22}\u{1f980}\u{301}";
    let characters: Vec<char> = CHARACTERS.chars().collect();
    let length = rng.random_range(0..12);
    (0..length).map(|_| characters[rng.random_range(0..characters.len())]).collect()
}
