//! Makes hostile inputs out of others: by bytes, by words of the format, and by the structure of JSON.

use serde_json::{Map, Value};

/// The value that may never come back in what is said of an input.
pub const MARK: &str = "kq7xmarkz9w";

/// A seeded source of choices: splitmix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, 0 for 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.next() % n as u64) as usize }
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// Words that mean something to some reader, and characters that mean trouble to most.
pub const WORDS: &[&str] = &[
    MARK,
    "kq7xmarkz9w@kq7xmarkz9w.example",
    "@",
    "+1 650 555 1212",
    "00491711234567",
    "4111111111111111",
    "DE89370400440532013000",
    "219-09-9999",
    "https://u:p@kq7xmarkz9w.example:99999/a/../b?utm_source=kq7xmarkz9w&gclid=1&fbclid=%F0%9F#frag",
    "[::ffff:1.2.3.4]",
    "255.255.255.255",
    "%00",
    "%25%32%35",
    "%c3%28",
    "xn--",
    "\u{130}",
    "\u{200b}",
    "\u{feff}",
    "\u{202e}",
    "e\u{301}",
    "\u{1f469}\u{200d}\u{1f469}",
    "\u{ff21}\u{ff22}",
    "ß",
    "ﬁ",
    "Σς",
    "\\ud800",
    "\\udc00\\ud800",
    "\\u0000",
    "\0",
    "\u{1}",
    "null",
    "true",
    "1e999",
    "-0",
    "9223372036854775807",
    "-9223372036854775808",
    "1e-400",
    "18446744073709551616",
    "0.1",
    "00",
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "{\"a\":",
    "[[[[[[[[",
    "\"user\":{",
    "\"email\":",
    "\"event_id\":",
    "\"event_time\":",
    "\"custom\":{",
    "\"items\":[{",
    "\"feedback\":{\"text\":\"",
    "\"consent\":{\"ads\":true}",
    "\"kind\":\"feedback\"",
    "\"user\":[",
    "2026-09-21T14:13:20Z",
    "1969-12-31T23:59:60+25:00",
    "9999999-01-01",
    "utm_campaign=",
    "[[tenant]]\n",
    "id = ",
    "profile = \"affiliate\"\n",
    "[kafka]\n",
    "[tenant.windows]\n",
    "= \"5s\"\n",
    "'''",
    "\"\"\"",
    "\n",
    "\r\n",
    "\t",
    "#",
    "-----BEGIN PUBLIC KEY-----",
    "lethe1 directives=",
    "epoch=",
    "1.AAAAAAAAAAAAAAAAAAAAAA",
    "\"kind\":\"erase\"",
    "\"kind\":\"hold\"",
    "\"pseudonyms\":[",
    "\"hash\":",
    "\"signature\":",
    "\"heads\":{",
    "\"type\":\"record\"",
    "\"fields\":[",
    "{\"type\":\"array\",\"items\":",
    "\"logicalType\":",
    "Mozilla/5.0 (",
    "Chrome/999999999999999999999.0",
    "; ",
    "depression",
    "*",
    "../",
    "~roll",
    "-",
    "/",
    "\\",
];

const NUMBERS: [i64; 14] =
    [0, 1, -1, 127, 128, 255, 65_535, 65_536, i32::MAX as i64, i32::MIN as i64, i64::MAX, i64::MIN, 1_790_000_000_000, 10_000_000_000];

/// One to six changes of an input. `others`: what parts may be taken from.
pub fn mutated(input: &[u8], others: &[Vec<u8>], max_len: usize, dice: &mut Dice) -> Vec<u8> {
    if dice.one_in(3)
        && let Ok(mut value) = serde_json::from_slice::<Value>(input)
    {
        for _ in 0..=dice.below(3) {
            change(&mut value, dice);
        }
        let mut out = serde_json::to_vec(&value).unwrap_or_default();
        out.truncate(max_len);
        return out;
    }
    let mut out = input.to_vec();
    for _ in 0..=dice.below(6) {
        change_bytes(&mut out, others, dice);
    }
    out.truncate(max_len);
    out
}

fn change_bytes(out: &mut Vec<u8>, others: &[Vec<u8>], dice: &mut Dice) {
    let at = dice.below(out.len() + 1);
    let to = at + dice.below((out.len() - at).min(64) + 1);
    match dice.below(12) {
        0 if at < out.len() => out[at] ^= 1 << dice.below(8),
        1 if at < out.len() => out[at] = dice.next() as u8,
        2 => drop(out.drain(at..to)),
        3 => {
            let part = out[at..to].to_vec();
            let times = [1, 2, 8, 64][dice.below(4)];
            out.splice(at..at, part.repeat(times));
        }
        4 | 5 => drop(out.splice(at..at, dice.of(WORDS).bytes())),
        6 => drop(out.splice(at..to, dice.of(WORDS).bytes())),
        7 if !others.is_empty() => {
            let other = &others[dice.below(others.len())];
            let from = dice.below(other.len() + 1);
            let until = from + dice.below((other.len() - from).min(256) + 1);
            out.splice(at..to, other[from..until].iter().copied());
        }
        8 => {
            let n = NUMBERS[dice.below(NUMBERS.len())];
            match dice.below(4) {
                0 => drop(out.splice(at..to, n.to_string().into_bytes())),
                1 => drop(out.splice(at..at, n.to_le_bytes())),
                2 => drop(out.splice(at..at, (n as i32).to_be_bytes())),
                _ => {
                    let mut varint = Vec::new();
                    let mut z = ((n << 1) ^ (n >> 63)) as u64;
                    while z >= 0x80 {
                        varint.push(z as u8 | 0x80);
                        z >>= 7;
                    }
                    varint.push(z as u8);
                    out.splice(at..at, varint);
                }
            }
        }
        9 => out.truncate(at),
        10 => {
            let word = dice.of(WORDS);
            out.splice(at..at, word.repeat(1 + dice.below(400)).into_bytes());
        }
        _ => out.extend_from_slice(dice.of(WORDS).as_bytes()),
    }
}

/// Changes one place of a JSON value.
fn change(value: &mut Value, dice: &mut Dice) {
    match value {
        Value::Object(members) if !members.is_empty() && !dice.one_in(4) => {
            let name = members.keys().nth(dice.below(members.len())).cloned().unwrap_or_default();
            match dice.below(8) {
                0 => drop(members.remove(&name)),
                1 => {
                    let there = members.remove(&name).unwrap_or_default();
                    members.insert(dice.of(WORDS).trim_matches(['"', ':']).to_owned(), there);
                }
                2 => drop(members.insert(format!("{name}{}", dice.of(WORDS)), any(dice, 3))),
                _ => change(members.entry(name).or_insert(Value::Null), dice),
            }
        }
        Value::Array(all) if !all.is_empty() && !dice.one_in(4) => {
            let at = dice.below(all.len());
            match dice.below(6) {
                0 => drop(all.remove(at)),
                1 => {
                    let one = all[at].clone();
                    all.extend(std::iter::repeat_n(one, 1 + dice.below(300)));
                }
                _ => change(&mut all[at], dice),
            }
        }
        Value::String(text) if !dice.one_in(3) => {
            let mut bytes = std::mem::take(text).into_bytes();
            change_bytes(&mut bytes, &[], dice);
            *text = String::from_utf8_lossy(&bytes).into_owned();
        }
        _ => *value = any(dice, 4),
    }
}

/// Some value, nested `depth` deep at most, or far deeper once in a while.
fn any(dice: &mut Dice, depth: usize) -> Value {
    match dice.below(if depth == 0 { 6 } else { 9 }) {
        0 => Value::Null,
        1 => Value::Bool(dice.one_in(2)),
        2 => NUMBERS[dice.below(NUMBERS.len())].into(),
        3 => serde_json::Number::from_f64(f64::from_bits(dice.next())).map_or(Value::Null, Value::Number),
        4 | 5 => Value::String(dice.of(WORDS).repeat(1 + dice.below(3))),
        6 => Value::Array((0..dice.below(4)).map(|_| any(dice, depth - 1)).collect()),
        7 => {
            let mut members = Map::new();
            for _ in 0..dice.below(4) {
                members.insert((*dice.of(WORDS)).to_owned(), any(dice, depth - 1));
            }
            Value::Object(members)
        }
        _ => {
            let levels = [2, 30, 33, 120][dice.below(4)];
            (0..levels).fold(Value::from(MARK), |inside, _| Value::Array(vec![inside]))
        }
    }
}
