//! JSON as the genuine server reads and writes it: the same leniency, the same error texts, the same escapes.
//!
//! [`read`] is strict about unknown fields (10025), lenient about the case of names and about `null`;
//! [`write()`] escapes `<`, `>` and `&` as Go does. Nothing here panics, whatever the bytes are.

mod decode;
mod encode;
mod parse;

pub use decode::{Decode, Decoder, Fields, read};
pub use encode::{append_string, write};
pub use parse::{Json, Value, is_object_or_array};

/// Quotes text as Go's `%q` does, for error texts.
pub fn quote(text: &str) -> String {
    use std::fmt::Write;

    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{07}' => quoted.push_str("\\a"),
            '\u{08}' => quoted.push_str("\\b"),
            '\u{0c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{0b}' => quoted.push_str("\\v"),
            // Writing to a String cannot fail.
            '\0'..='\u{1f}' | '\u{7f}' => drop(write!(quoted, "\\x{:02x}", character as u32)),
            '\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                let _ = write!(quoted, "\\u{:04x}", character as u32);
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
