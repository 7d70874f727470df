//! Numbers with size suffixes, dates, and what only looked like one of them (F-02, F-03).

use super::cursor::{Cursor, is_blank, is_line_break};

/// What a value that begins with a digit or `-` turned out to be.
pub(super) enum Scanned {
    Integer,
    Float,
    DateTime,
    /// Digits and dots such as `127.0.0.1:4222`: a string that ends here.
    Address,
    /// A string that goes on: `5abc`.
    Text,
}

/// Reads a value whose first character is a digit. In a list, the list's bracket ends it.
pub(super) fn scan(cursor: &mut Cursor<'_>, in_list: bool) -> Result<Scanned, String> {
    let start = cursor.position();
    cursor.skip_while(|c| c.is_ascii_digit());
    match cursor.peek() {
        Some('-') => {
            cursor.next();
            if cursor.position() - start != "2006-".len() {
                return Err("All ISO8601 dates must be in full Zulu form.".into());
            }
            scan_date(cursor)
        }
        Some('.') => scan_fraction(cursor),
        Some(c) if is_suffix(c) => Ok(scan_suffix(cursor, in_list)),
        next if ends_number(next, in_list) => Ok(Scanned::Integer),
        _ => {
            // As in nats-server, the first character that is no digit has no special meaning.
            cursor.next();
            Ok(Scanned::Text)
        }
    }
}

/// Reads a value after its `-`.
pub(super) fn scan_negative(cursor: &mut Cursor<'_>, in_list: bool) -> Result<Scanned, String> {
    match cursor.peek() {
        Some(c) if c.is_ascii_digit() => {}
        Some('.') => return Err("Floats must start with a digit, not '.'.".into()),
        other => return Err(format!("Expected a digit but got '{}'.", show(other))),
    }
    cursor.skip_while(|c| c.is_ascii_digit());
    match cursor.peek() {
        Some('.') => scan_fraction(cursor),
        Some(c) if is_suffix(c) => Ok(scan_suffix(cursor, in_list)),
        _ => Ok(Scanned::Integer),
    }
}

fn scan_suffix(cursor: &mut Cursor<'_>, in_list: bool) -> Scanned {
    cursor.next();
    cursor.skip_while(|c| matches!(c, 'b' | 'B' | 'i' | 'I'));
    if ends_number(cursor.peek(), in_list) { Scanned::Integer } else { Scanned::Text }
}

fn scan_fraction(cursor: &mut Cursor<'_>) -> Result<Scanned, String> {
    cursor.next();
    match cursor.peek() {
        Some(c) if c.is_ascii_digit() => {}
        other => {
            return Err(format!("Floats must have a digit after the '.', but got '{}' instead.", show(other)));
        }
    }
    cursor.skip_while(|c| c.is_ascii_digit());
    if cursor.peek() != Some('.') {
        return Ok(Scanned::Float);
    }
    cursor.skip_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':' | '-'));
    Ok(Scanned::Address)
}

fn scan_date(cursor: &mut Cursor<'_>) -> Result<Scanned, String> {
    for wanted in "00-00T00:00:00Z".chars() {
        let found = cursor.next();
        if wanted == '0' {
            if !found.is_some_and(|c| c.is_ascii_digit()) {
                return Err(format!("Expected digit in ISO8601 datetime, but found '{}' instead.", show(found)));
            }
        } else if found != Some(wanted) {
            return Err(format!("Expected '{wanted}' in ISO8601 datetime, but found '{}' instead.", show(found)));
        }
    }
    Ok(Scanned::DateTime)
}

fn is_suffix(character: char) -> bool {
    matches!(character.to_ascii_lowercase(), 'k' | 'm' | 'g' | 't' | 'p' | 'e')
}

fn ends_number(next: Option<char>, in_list: bool) -> bool {
    next.is_none_or(|c| is_line_break(c) || is_blank(c) || matches!(c, '}' | ';' | ',') || (in_list && c == ']'))
}

/// A character as messages show it; nothing at the end of the text.
pub(super) fn show(character: Option<char>) -> String {
    match character {
        Some('\n') => "\\n".into(),
        Some(c) => c.to_string(),
        None => "end of file".into(),
    }
}

/// `10`, `-1`, `64kb`: suffixes of one letter count in thousands, those with `b` or `i` in 1024s.
pub(super) fn integer(text: &str) -> Result<i64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let out_of_range = || format!("integer '{text}' is out of the range");
    let number: i64 = number.parse().map_err(|_| out_of_range())?;
    let suffix = suffix.to_ascii_lowercase();
    let mut letters = suffix.chars();
    let Some(scale) = letters.next() else { return Ok(number) };
    let power = match scale {
        'k' => 1,
        'm' => 2,
        'g' => 3,
        't' => 4,
        'p' => 5,
        'e' => 6,
        _ => return Err(format!("expected integer, but got '{text}'")),
    };
    let base: i64 = match letters.as_str() {
        "" => 1000,
        "b" | "i" | "ib" => 1024,
        _ => return Err(format!("expected integer, but got '{text}'")),
    };
    base.checked_pow(power).and_then(|factor| number.checked_mul(factor)).ok_or_else(out_of_range)
}

pub(super) fn float(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        Ok(_) => Err(format!("float '{text}' is out of the range")),
        Err(_) => Err(format!("expected float, but got '{text}'")),
    }
}

/// Accepts `text` as `YYYY-MM-DDTHH:MM:SSZ` of a day that exists.
pub(super) fn check_date(text: &str) -> Result<(), String> {
    let format = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    time::PrimitiveDateTime::parse(text, format)
        .map(|_| ())
        .map_err(|_| format!("expected Zulu formatted DateTime, but got '{text}'"))
}
