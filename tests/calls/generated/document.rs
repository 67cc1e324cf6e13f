//! JSON objects that jsonb accepts, as unusual as possible.

use super::choices::Choices;

/// The digits that a numeric can have before its point, and behind it.
const WHOLE: usize = 131_072;
const FRACTION: usize = 16_383;

/// The approximate size of a document, except for large single values.
const BYTES: usize = 20_000;

/// An object. Now and then it is very deep, or has a very long number or array.
pub fn object(choices: &mut Choices) -> String {
    let mut out = String::new();
    push_object(&mut out, choices, 4);
    let special = match choices.below(40) {
        39 => huge_number(choices),
        38 => long_array(choices),
        37 | 36 => deep(choices),
        _ => return out,
    };
    out.pop();
    out.push_str(if out.len() > 1 { "," } else { "" });
    out.push_str(&format!("\"special\":{special}}}"));
    out
}

/// The columns of an attached table's row: `n` is a number, `a` an array of numbers, `t` a text, `j` any JSON.
pub fn row(choices: &mut Choices) -> String {
    let mut out = format!("{{\"n\":{},\"a\":", number(choices));
    push_all(&mut out, ['[', ']'], 3, choices, |out, choices| out.push_str(&number(choices)));
    out.push_str(",\"t\":");
    push_text(&mut out, choices);
    out.push_str(",\"j\":");
    push_value(&mut out, choices, 3);
    out.push('}');
    out
}

fn push_value(out: &mut String, choices: &mut Choices, depth: usize) {
    match choices.below(if depth == 0 || out.len() > BYTES { 6 } else { 9 }) {
        0 => out.push_str("null"),
        1 => out.push_str(choices.one_of(&["true", "false"])),
        2 | 3 => push_text(out, choices),
        4 | 5 => out.push_str(&number(choices)),
        6 => {
            let count = choices.one_of(&[0, 1, 2, 5, 12, 40]);
            push_all(out, ['[', ']'], count, choices, |out, choices| push_value(out, choices, depth - 1));
        }
        _ => push_object(out, choices, depth - 1),
    }
}

fn push_object(out: &mut String, choices: &mut Choices, depth: usize) {
    let count = choices.one_of(&[0, 1, 2, 5, 9, 35]);
    let mut names: Vec<String> = Vec::new();
    push_all(out, ['{', '}'], count, choices, |out, choices| {
        // A name that was there before: the later value counts.
        if !names.is_empty() && choices.once_in(8) {
            out.push_str(&names[choices.below(names.len())]);
        } else {
            let start = out.len();
            push_text(out, choices);
            names.push(out[start..].to_owned());
        }
        out.push_str(choices.one_of(&[":", " : ", ":\n\t"]));
        push_value(out, choices, depth);
    });
}

/// About `count` elements that `push` writes, between brackets.
fn push_all(
    out: &mut String,
    brackets: [char; 2],
    count: usize,
    choices: &mut Choices,
    mut push: impl FnMut(&mut String, &mut Choices),
) {
    out.push(brackets[0]);
    let mut comma = "";
    while choices.has_more(count) {
        out.push_str(comma);
        push(out, choices);
        comma = " ,";
    }
    out.push(brackets[1]);
}

fn push_text(out: &mut String, choices: &mut Choices) {
    const PARTS: [&str; 20] = [
        "a",
        "0",
        " ",
        "'",
        "/",
        "\\\"",
        "\\\\",
        "\\/",
        "\\b",
        "\\f",
        "\\n",
        "\\r",
        "\\t",
        "\\u0001",
        "\\u001f",
        "\\u007F",
        "\\\\u0000",
        "]}",
        "é",
        "🪐",
    ];
    let length = choices.one_of(&[0, 1, 2, 4, 15, 120]);
    out.push('"');
    while choices.has_more(length) {
        match choices.below(4) {
            0..=2 => out.push_str(choices.one_of(&PARTS)),
            _ => push_any_character(out, choices),
        }
    }
    out.push('"');
}

/// Any that a text of Postgres can hold, of all planes, as it is or by its number.
fn push_any_character(out: &mut String, choices: &mut Choices) {
    let number = choices.below(17) << 16 | choices.below(1 << 16);
    let character = u32::try_from(number).ok().and_then(char::from_u32).filter(|c| *c >= ' ' && !"\"\\".contains(*c));
    match character {
        Some(c) if choices.once_in(2) => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
        c => out.push(c.unwrap_or('x')),
    }
}

/// A number, as JSON may write it and numeric can hold it.
fn number(choices: &mut Choices) -> String {
    const ODD: [&str; 14] = [
        "0",
        "-0",
        "-0.0",
        "0.00",
        "0e0",
        "-0E-5",
        "1e400",
        "-1E+400",
        "1e-400",
        "9007199254740993",
        "1.10",
        "18446744073709551616",
        "5e-324",
        "1e16000",
    ];
    let sign = choices.one_of(&["", "-"]);
    match choices.below(6) {
        0 => choices.one_of(&ODD).to_owned(),
        1 => format!("{sign}{}", whole(choices)),
        2 => format!("{sign}{}.{}", whole(choices), digits(choices)),
        3 => format!("{sign}0.{}", digits(choices)),
        4 => format!("{sign}{}e{}", whole(choices), choices.below(700) as i32 - 350),
        _ => format!("{sign}{}.{}E+{:03}", whole(choices), digits(choices), choices.below(100)),
    }
}

fn whole(choices: &mut Choices) -> String {
    format!("{}{}", 1 + choices.below(9), digits(choices))
}

fn digits(choices: &mut Choices) -> String {
    let mut digits = String::new();
    loop {
        digits.push(char::from(b'0' + choices.below(10) as u8));
        if !choices.has_more(15) {
            return digits;
        }
    }
}

/// As long as numeric allows, or nearly.
fn huge_number(choices: &mut Choices) -> String {
    let pattern = digits(choices);
    let repeated = |length: usize| -> String { pattern.chars().cycle().take(length).collect() };
    let (whole, fraction) = (WHOLE - 1 - choices.below(3), FRACTION - choices.below(3));
    match choices.below(4) {
        0 => format!("1e{whole}"),
        1 => format!("-9.{pattern}e{}", choices.below(WHOLE)),
        2 => format!("0.{}", repeated(fraction)),
        _ => format!("7{}.{}", repeated(whole), repeated(fraction)),
    }
}

fn long_array(choices: &mut Choices) -> String {
    let (count, element) = (choices.one_of(&[100, 1_000, 20_000]), number(choices));
    // jsonb prints `1e16000` in full.
    let is_short = element.len() <= 40 && !element.contains(['e', 'E']);
    format!("[{}]", vec![if is_short { &element } else { "-0.10" }; count].join(","))
}

/// Far deeper than parsers that recurse like it; Postgres is one of those.
fn deep(choices: &mut Choices) -> String {
    let depth = choices.below(900);
    let [open, close] = choices.one_of(&[["[", "]"], ["{\"\":", "}"], ["[{\"k\": ", "}]"], ["[null, ", ", 1.10]"]]);
    format!("{}{}{}", open.repeat(depth), number(choices), close.repeat(depth))
}
