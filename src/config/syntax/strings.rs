//! Strings in all their forms: bare, in one or two quotes, and in a block; and what bare text turns out to be.

use super::cursor::{is_blank, is_line_break};
use super::number::{self, Scanned, show};
use super::parser::{Parser, SyntaxError};
use super::value::{Node, Value};

impl Parser<'_, '_, '_> {
    pub(super) fn scanned(&mut self, start: usize, scanned: Scanned) -> Result<Node, SyntaxError> {
        if let Scanned::Text = scanned {
            return self.bare(start);
        }
        let text = self.text(self.cursor.slice(start))?;
        let value = match scanned {
            Scanned::Integer => number::integer(&text).map(Value::Integer),
            Scanned::Float => number::float(&text).map(Value::Float),
            Scanned::DateTime => number::check_date(&text).map(|()| Value::DateTime(text)),
            Scanned::Address | Scanned::Text => Ok(Value::String(text)),
        };
        Ok(self.node(start, value.map_err(|text| self.located(text))?))
    }

    /// An unquoted value from `start` on: a string, a boolean, or a variable.
    pub(super) fn bare(&mut self, start: usize) -> Result<Node, SyntaxError> {
        let mut escaped: Option<Vec<u8>> = None;
        let mut part = start;
        loop {
            match self.cursor.peek() {
                Some('\\') => {
                    let collected = escaped.get_or_insert_default();
                    collected.extend_from_slice(self.cursor.slice(part));
                    self.cursor.next();
                    let byte = self.escape()?;
                    escaped.get_or_insert_default().push(byte);
                    part = self.cursor.position();
                }
                Some(c) if is_line_break(c) || is_blank(c) || matches!(c, ';' | ',' | ']' | '}' | '\'') => break,
                None => break,
                Some(_) => {
                    self.cursor.next();
                }
            }
        }
        let last_part = self.cursor.slice(part);
        let ended_by_quote = self.cursor.peek() == Some('\'');
        let node = if let Some(mut bytes) = escaped {
            bytes.extend_from_slice(last_part);
            let text = self.text(&bytes)?;
            self.node(start, Value::String(text))
        } else {
            let text = self.text(last_part)?;
            match boolean(&text) {
                Some(flag) if !ended_by_quote => self.node(start, Value::Bool(flag)),
                _ => match text.strip_prefix('$') {
                    Some(name) if !ended_by_quote => self.variable(name, start)?,
                    _ => self.node(start, Value::String(text)),
                },
            }
        };
        if ended_by_quote {
            self.cursor.next();
        }
        Ok(node)
    }

    pub(super) fn quoted(&mut self) -> Result<Node, SyntaxError> {
        self.cursor.next();
        let start = self.cursor.position();
        self.cursor.skip_while(|c| c != '\'');
        let text = self.text(self.cursor.slice(start))?;
        let node = self.node(start, Value::String(text));
        if !self.cursor.take('\'') {
            return Err(self.error("Unexpected EOF.".into()));
        }
        Ok(node)
    }

    pub(super) fn double_quoted(&mut self) -> Result<Node, SyntaxError> {
        let start = self.cursor.position();
        let mut bytes = Vec::new();
        let mut part = start;
        loop {
            match self.cursor.peek() {
                Some('\\') => {
                    bytes.extend_from_slice(self.cursor.slice(part));
                    self.cursor.next();
                    bytes.push(self.escape()?);
                    part = self.cursor.position();
                }
                Some('"') => break,
                Some(_) => {
                    self.cursor.next();
                }
                None => return Err(self.error("Unexpected EOF.".into())),
            }
        }
        bytes.extend_from_slice(self.cursor.slice(part));
        let text = self.text(&bytes)?;
        let node = self.node(start, Value::String(text));
        self.cursor.next();
        Ok(node)
    }

    /// What stands after a backslash.
    fn escape(&mut self) -> Result<u8, SyntaxError> {
        match self.cursor.next() {
            Some('t') => Ok(b'\t'),
            Some('n') => Ok(b'\n'),
            Some('r') => Ok(b'\r'),
            Some('"') => Ok(b'"'),
            Some('\\') => Ok(b'\\'),
            Some('x') => {
                let mut byte = 0;
                for _ in 0..2 {
                    let found = self.cursor.next();
                    if found.is_some_and(is_line_break) {
                        let text = "Expected two hexadecimal digits after '\\x', but hit end of line";
                        return Err(self.error(text.into()));
                    }
                    let digit = found.and_then(|c| c.to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
                    let Some(digit) = digit else {
                        let text = format!("Expected two hexadecimal digits after '\\x', but got '{}'", show(found));
                        return Err(self.error(text));
                    };
                    byte = byte * 16 + digit;
                }
                Ok(byte)
            }
            other => Err(self.error(format!(
                "Invalid escape character '{}'. Only the following escape characters are allowed: \\xXX, \\t, \\n, \
                 \\r, \\\", \\\\.",
                show(other)
            ))),
        }
    }

    /// `(` up to a `)` that has a line to itself.
    pub(super) fn block_string(&mut self) -> Result<Node, SyntaxError> {
        self.cursor.next();
        let start = self.cursor.position();
        let mut previous = '(';
        loop {
            match self.cursor.next() {
                None => return Err(self.error("Unexpected EOF processing block.".into())),
                Some(')') if previous == '\n' && matches!(self.cursor.peek(), None | Some('\n')) => break,
                Some(c) => previous = c,
            }
        }
        let mut text = self.cursor.slice(start);
        // nats-server keeps the bracket in the string when it is the last byte of the file.
        if self.cursor.peek().is_some() {
            text = &text[..text.len() - 1];
        }
        let text = self.text(text)?;
        Ok(self.node(start, Value::String(text)))
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}
