//! The configuration's digest, `sha256:<hex>`: printed by `-t`, shown as varz `config_digest`.
//!
//! nats-server hashes the parsed tree as Go's JSON encoder prints it: keys sorted, `<`, `>` and `&` escaped, one line
//! break at the end. The same file must give the same digest here, because operators compare them across a fleet.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::value::{Map, Value};

pub(crate) fn digest(map: &Map) -> String {
    let hash = Sha256::digest(canonical(map).as_bytes());
    hash.iter().fold(String::from("sha256:"), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The text that is hashed.
pub(super) fn canonical(map: &Map) -> String {
    let mut out = String::new();
    write_map(&mut out, map);
    out.push('\n');
    out
}

fn write_map(out: &mut String, map: &Map) {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by(|left, right| left.0.as_bytes().cmp(right.0.as_bytes()));
    out.push('{');
    for (index, (key, node)) in entries.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(out, key);
        out.push(':');
        write_value(out, &node.value);
    }
    out.push('}');
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::String(text) | Value::DateTime(text) => write_string(out, text),
        Value::Integer(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Float(number) => write_float(out, *number),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(out, &item.value);
            }
            out.push(']');
        }
        Value::Map(map) => write_map(out, map),
    }
}

/// Shortest digits that read back as the same number, with an exponent only outside 1e-6..1e21.
fn write_float(out: &mut String, number: f64) {
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                let _ = write!(out, "{digits}e+{exponent}");
            }
            _ => out.push_str(&text),
        }
    } else {
        let _ = write!(out, "{number}");
    }
}

fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}
