//! Writing JSON the way Go does by default: compact, and safe to embed in HTML.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// The JSON of a value. Strings escape `<`, `>`, `&`, U+2028 and U+2029.
pub fn write<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let mut serializer = Serializer::with_formatter(&mut out, GoFormatter);
    // Writing to memory cannot fail, and no type of the API has maps with keys that are not text.
    let written = value.serialize(&mut serializer);
    debug_assert!(written.is_ok(), "a type of the API cannot be written");
    out
}

/// Appends a quoted and escaped string.
pub fn append_string(out: &mut Vec<u8>, text: &str) {
    let mut serializer = Serializer::with_formatter(out, GoFormatter);
    // Writing to memory cannot fail.
    let _ = text.serialize(&mut serializer);
}

struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let bytes = fragment.as_bytes();
        let mut written = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let (escape, length): (&[u8], usize) = match byte {
                b'<' => (b"\\u003c", 1),
                b'>' => (b"\\u003e", 1),
                b'&' => (b"\\u0026", 1),
                0xe2 if bytes[at..].starts_with("\u{2028}".as_bytes()) => (b"\\u2028", 3),
                0xe2 if bytes[at..].starts_with("\u{2029}".as_bytes()) => (b"\\u2029", 3),
                _ => continue,
            };
            writer.write_all(&bytes[written..at])?;
            writer.write_all(escape)?;
            written = at + length;
        }
        CompactFormatter.write_string_fragment(writer, &fragment[written..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_go_escapes() {
        let text = "a<>&\u{2028}é\t\u{8}\u{c}\u{1}\u{7f}\"\\/";
        let expected = "\"a\\u003c\\u003e\\u0026\\u2028é\\t\\b\\f\\u0001\u{7f}\\\"\\\\/\"";
        assert_eq!(String::from_utf8(write(text)).unwrap(), expected);
    }
}
