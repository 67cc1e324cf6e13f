//! Documents that nobody would think of, made by chance and the same in every run.

use crate::exactness::all_pass;
use crate::support::World;

/// xorshift: the same on every machine and in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }

    fn text(&mut self) -> String {
        const PARTS: [&str; 16] = [
            "a",
            "Z",
            "0",
            " ",
            "é",
            "漢",
            "🪐",
            "\\\"",
            "\\\\",
            "\\n",
            "\\t",
            "\\u0001",
            "\\u00e9",
            "\\ud83d\\ude80",
            "/",
            "'",
        ];
        let length = [0, 1, 3, 8, 20, 140][self.below(6)];
        (0..self.below(length + 1)).map(|_| PARTS[self.below(PARTS.len())]).collect()
    }

    fn digits(&mut self) -> String {
        let length = 1 + self.below(30);
        (0..length).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }

    fn number(&mut self) -> String {
        let sign = ["", "-"][self.below(2)];
        let whole = format!("{}{}", 1 + self.below(9), self.digits());
        match self.below(4) {
            0 => format!("{sign}{whole}"),
            1 => format!("{sign}{whole}.{}", self.digits()),
            2 => format!("{sign}0.{}", self.digits()),
            _ => format!("{sign}{whole}.{}e{}", self.digits(), self.below(600) as i64 - 300),
        }
    }

    fn value(&mut self, depth: usize) -> String {
        match self.below(if depth == 0 { 5 } else { 8 }) {
            0 => "null".into(),
            1 => ["true", "false"][self.below(2)].into(),
            2 => format!("\"{}\"", self.text()),
            3 | 4 => self.number(),
            5 => {
                let elements: Vec<String> = (0..self.below(12)).map(|_| self.value(depth - 1)).collect();
                format!("[{}]", elements.join(" , "))
            }
            _ => self.object(depth - 1),
        }
    }

    fn object(&mut self, depth: usize) -> String {
        let fields: Vec<String> =
            (0..self.below(9)).map(|_| format!("\"{}\": {}", self.text(), self.value(depth))).collect();
        format!("{{{}}}", fields.join(",\n"))
    }
}

#[test]
fn generated_documents_pass() {
    let mut world = World::new();
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15);
    for _ in 0..5 {
        let data: Vec<String> = (0..60).map(|_| chance.object(4)).collect();
        all_pass(&mut world, &data);
    }
}
