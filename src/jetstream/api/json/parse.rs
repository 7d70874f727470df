//! The syntax of JSON: bytes to a tree that borrows from them, with the error texts of the genuine server.

use std::borrow::Cow;

/// Deeper input is refused; no request of the API nests deeper than five.
const DEPTH_MAX: usize = 64;

/// A value and the text it was read from.
#[derive(Clone, Debug)]
pub struct Json<'a> {
    pub raw: &'a [u8],
    pub value: Value<'a>,
}

#[derive(Clone, Debug)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    /// Kept as text: the reader of a field knows the width it wants.
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    /// In the order of the text; the last of equal names counts.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl Json<'_> {
    /// What Go calls the kind of value, for error texts.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        }
    }
}

/// Why a text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyntaxError {
    /// The text ends too early.
    Truncated,
    /// `offset` counts the bytes up to and including the offending ones.
    At { message: String, offset: usize },
}

/// True when the first byte that is not white space begins an object or an array: what makes the genuine server look
/// at the payload of a request whose payload is optional.
pub fn is_object_or_array(text: &[u8]) -> bool {
    let first = text.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    matches!(first, Some(b'{' | b'['))
}

/// Reads value after value from a text.
pub struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The next value; `None` when only white space is left.
    pub fn next_value(&mut self) -> Result<Option<Json<'a>>, SyntaxError> {
        self.skip_space();
        if self.at == self.text.len() {
            return Ok(None);
        }
        self.value(0).map(Some)
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, SyntaxError> {
        self.skip_space();
        let start = self.at;
        let value = match self.peek()? {
            b'{' => self.object(depth)?,
            b'[' => self.array(depth)?,
            b'"' => Value::String(self.string()?),
            b't' => self.literal(b"true", Value::Bool(true))?,
            b'f' => self.literal(b"false", Value::Bool(false))?,
            b'n' => self.literal(b"null", Value::Null)?,
            b'-' | b'0'..=b'9' => Value::Number(self.number()?),
            _ => return Err(self.unexpected("looking for beginning of value")),
        };
        Ok(Json { raw: &self.text[start..self.at], value })
    }

    fn object(&mut self, depth: usize) -> Result<Value<'a>, SyntaxError> {
        self.enter(depth)?;
        let mut fields = Vec::new();
        self.skip_space();
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(Value::Object(fields));
        }
        loop {
            self.skip_space();
            if self.peek()? != b'"' {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let name = self.string()?;
            self.skip_space();
            if self.peek()? != b':' {
                return Err(self.unexpected("after object key"));
            }
            self.at += 1;
            fields.push((name, self.value(depth + 1)?));
            self.skip_space();
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(Value::Object(fields));
                }
                _ => return Err(self.unexpected("after object key:value pair")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value<'a>, SyntaxError> {
        self.enter(depth)?;
        let mut elements = Vec::new();
        self.skip_space();
        if self.peek()? == b']' {
            self.at += 1;
            return Ok(Value::Array(elements));
        }
        loop {
            elements.push(self.value(depth + 1)?);
            self.skip_space();
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(Value::Array(elements));
                }
                _ => return Err(self.unexpected("after array element")),
            }
        }
    }

    fn enter(&mut self, depth: usize) -> Result<(), SyntaxError> {
        self.at += 1;
        if depth < DEPTH_MAX { Ok(()) } else { Err(self.error("exceeded max depth".to_owned())) }
    }

    fn literal(&mut self, text: &'static [u8], value: Value<'a>) -> Result<Value<'a>, SyntaxError> {
        for expected in text {
            if self.peek()? != *expected {
                let context =
                    format!("in literal {} (expecting '{}')", String::from_utf8_lossy(text), char::from(*expected));
                return Err(self.unexpected(&context));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<&'a str, SyntaxError> {
        let start = self.at;
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek_is(b".") {
            self.at += 1;
            self.digits()?;
        }
        if self.peek_is(b"eE") {
            self.at += 1;
            if self.peek_is(b"+-") {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(std::str::from_utf8(&self.text[start..self.at]).expect("digits and signs are ASCII"))
    }

    fn digits(&mut self) -> Result<(), SyntaxError> {
        if !self.peek()?.is_ascii_digit() {
            return Err(self.unexpected("in numeric literal"));
        }
        while self.peek_is(b"0123456789") {
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        self.at += 1;
        let start = self.at;
        let mut unescaped: Option<Vec<u8>> = None;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    let copy = unescaped.get_or_insert_with(|| self.text[start..self.at].to_vec());
                    let character = Self::escape(self.text, &mut self.at)?;
                    copy.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                0..=0x1f => return Err(self.unexpected("in string")),
                byte => {
                    self.at += 1;
                    if let Some(copy) = &mut unescaped {
                        copy.push(byte);
                    }
                }
            }
        }
        let end = self.at;
        self.at += 1;
        Ok(match unescaped {
            None => String::from_utf8_lossy(&self.text[start..end]),
            Some(copy) => Cow::Owned(String::from_utf8_lossy(&copy).into_owned()),
        })
    }

    /// Reads one escape; a lone surrogate becomes the replacement character.
    fn escape(text: &'a [u8], at: &mut usize) -> Result<char, SyntaxError> {
        let start = *at;
        let kind = *text.get(start + 1).ok_or(SyntaxError::Truncated)?;
        *at = start + 2;
        let character = match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{08}',
            b'f' => '\u{0c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return Self::unicode_escape(text, at),
            _ => return Err(bad_escape(text, start, 2)),
        };
        Ok(character)
    }

    fn unicode_escape(text: &'a [u8], at: &mut usize) -> Result<char, SyntaxError> {
        let start = *at - 2;
        let first = hex4(text, *at).ok_or_else(|| bad_escape(text, start, 6))?;
        *at += 4;
        let is_half = (0xd800..0xdc00).contains(&first) && text.get(*at..*at + 2) == Some(b"\\u");
        let second = hex4(text, *at + 2).filter(|second| is_half && (0xdc00..0xe000).contains(second));
        if let Some(second) = second {
            *at += 6;
            let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn skip_space(&mut self) {
        while self.peek_is(b" \t\r\n") {
            self.at += 1;
        }
    }

    fn peek(&self) -> Result<u8, SyntaxError> {
        self.text.get(self.at).copied().ok_or(SyntaxError::Truncated)
    }

    fn peek_is(&self, any_of: &[u8]) -> bool {
        self.text.get(self.at).is_some_and(|byte| any_of.contains(byte))
    }

    fn unexpected(&self, context: &str) -> SyntaxError {
        let rest = &self.text[self.at..];
        let shown = String::from_utf8_lossy(&rest[..rest.len().min(4)]).chars().next();
        let (quoted, length) = match shown {
            Some('"') => ("'\"'".to_owned(), 1),
            Some('\'') => ("'\\''".to_owned(), 1),
            Some(char::REPLACEMENT_CHARACTER) => (format!("'\\x{:02x}'", rest[0]), 1),
            Some(other) => {
                let quoted = super::quote(&other.to_string());
                (format!("'{}'", &quoted[1..quoted.len() - 1]), other.len_utf8())
            }
            None => return SyntaxError::Truncated,
        };
        SyntaxError::At { message: format!("invalid character {quoted} {context}"), offset: self.at + length }
    }

    fn error(&self, message: String) -> SyntaxError {
        SyntaxError::At { message, offset: self.at }
    }
}

fn hex4(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at + 4)?;
    digits.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))
}

fn bad_escape(text: &[u8], start: usize, length: usize) -> SyntaxError {
    match text.get(start..start + length) {
        None => SyntaxError::Truncated,
        Some(escape) => {
            let quoted = super::quote(&String::from_utf8_lossy(escape));
            let shown = quoted[1..quoted.len() - 1].replace("\\\"", "\"").replace("\\\\", "\\");
            SyntaxError::At { message: format!("invalid escape sequence `{shown}` in string"), offset: start + length }
        }
    }
}
