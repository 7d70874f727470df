//! Values, and the lists and maps that hold them.

use super::cursor::{is_blank, is_line_break, is_separator};
use super::document::Key;
use super::number::{self, show};
use super::parser::{Parser, SyntaxError};
use super::value::{Map, Node, Span, Value};

impl Parser<'_, '_, '_> {
    pub(super) fn value(&mut self, in_list: bool) -> Result<Node, SyntaxError> {
        self.cursor.skip_while(is_blank);
        let start = self.cursor.position();
        match self.cursor.peek() {
            Some('[') => self.list(),
            Some('{') => self.map(),
            Some('\'') => self.quoted(),
            Some('"') => {
                self.cursor.next();
                self.double_quoted()
            }
            Some('(') => self.block_string(),
            Some('-') => {
                self.cursor.next();
                let scanned = number::scan_negative(&mut self.cursor, in_list).map_err(|text| self.error(text))?;
                self.scanned(start, scanned)
            }
            Some(c) if c.is_ascii_digit() => {
                let scanned = number::scan(&mut self.cursor, in_list).map_err(|text| self.error(text))?;
                self.scanned(start, scanned)
            }
            Some('.') => Err(self.error("Floats must start with a digit".into())),
            Some(c) if is_line_break(c) => {
                self.cursor.next();
                Err(self.error("Expected value but found new line".into()))
            }
            _ => self.bare(start),
        }
    }

    fn list(&mut self) -> Result<Node, SyntaxError> {
        self.descend()?;
        self.cursor.next();
        let mut items = Vec::new();
        loop {
            self.cursor.skip_while(char::is_whitespace);
            match self.cursor.peek() {
                Some(']') => break,
                Some(_) if self.comment()? => continue,
                Some(',') => {
                    self.cursor.next();
                    return Err(self.error("Unexpected array value terminator ','.".into()));
                }
                _ => {}
            }
            let node = self.value(true)?;
            self.charge(&node)?;
            items.push(node);
            if self.end_of_item()? {
                break;
            }
        }
        self.cursor.next();
        self.nesting -= 1;
        Ok(self.node(self.cursor.position(), Value::List(items)))
    }

    /// Moves past what separates two items. True when the list ends instead; its bracket is still to be read.
    fn end_of_item(&mut self) -> Result<bool, SyntaxError> {
        loop {
            self.cursor.skip_while(is_blank);
            match self.cursor.peek() {
                Some(']') => return Ok(true),
                Some('#') => self.skip_comment(),
                Some('/') if self.cursor.peek_second() == Some('/') => self.skip_comment(),
                Some(c) if is_line_break(c) || c == ',' || c == '/' => {
                    self.cursor.next();
                    return Ok(false);
                }
                other => {
                    self.cursor.next();
                    return Err(self.error(format!(
                        "Expected an array value terminator \",\" or an array terminator \"]\", but got '{}' instead.",
                        show(other)
                    )));
                }
            }
        }
    }

    fn map(&mut self) -> Result<Node, SyntaxError> {
        self.descend()?;
        self.cursor.next();
        self.scopes.push(Map::default());
        loop {
            self.cursor.skip_while(char::is_whitespace);
            match self.cursor.peek() {
                Some('}') => break,
                Some(']') => {
                    return Err(self.error("Unexpected array end ']' processing map.".into()));
                }
                None => return Err(self.error("Unexpected EOF processing map.".into())),
                Some(_) if self.comment()? => continue,
                Some(_) => {}
            }
            match self.key(true)? {
                Key::Include => self.include()?,
                Key::Name(name, span) => self.map_value(name, span)?,
            }
            if self.end_of_map_value()? {
                break;
            }
        }
        self.cursor.next();
        self.nesting -= 1;
        let map = self.scopes.pop().unwrap_or_default();
        Ok(self.node(self.cursor.position(), Value::Map(map)))
    }

    fn map_value(&mut self, name: String, span: Span) -> Result<(), SyntaxError> {
        self.cursor.skip_while(char::is_whitespace);
        if self.cursor.peek().is_some_and(is_separator) {
            self.cursor.next();
            self.cursor.skip_while(char::is_whitespace);
        }
        match self.cursor.peek() {
            Some(',') => {
                self.cursor.next();
                return Err(self.error("Unexpected map value terminator \",\".".into()));
            }
            Some('}') => return Err(self.error(format!("Expected a value for key '{name}' but found '}}'."))),
            _ => {}
        }
        let node = self.value(false)?;
        self.insert(name, Node { span, ..node })
    }

    /// Moves past what separates two entries. True when the map ends instead; its brace is still to be read.
    fn end_of_map_value(&mut self) -> Result<bool, SyntaxError> {
        loop {
            self.cursor.skip_while(is_blank);
            match self.cursor.peek() {
                Some('}') => return Ok(true),
                Some('#') => self.skip_comment(),
                Some('/') if self.cursor.peek_second() == Some('/') => self.skip_comment(),
                Some(c) if is_line_break(c) || matches!(c, ',' | ';' | '/') => {
                    self.cursor.next();
                    return Ok(false);
                }
                other => {
                    self.cursor.next();
                    return Err(self.error(format!(
                        "Expected a map value terminator \",\" or a map terminator \"}}\", but got '{}' instead.",
                        show(other)
                    )));
                }
            }
        }
    }
}
