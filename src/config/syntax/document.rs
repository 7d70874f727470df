//! The top level: entries, and braces around them that mean nothing (JSON).

use super::cursor::{is_blank, is_line_break, is_separator};
use super::number::show;
use super::parser::{Parser, SyntaxError};
use super::value::{Map, Node, Span};

/// A key, or what stands in its place.
pub(super) enum Key {
    Name(String, Span),
    Include,
}

/// How an entry of the top level ended.
enum Entry {
    Done,
    /// A lone `}` before the end of the file, as the last brace of JSON.
    EndOfFile,
}

/// The states between the entries of a braced block at the top level.
enum BlockState {
    Entries,
    AfterEntry,
    Closing,
}

impl Parser<'_, '_, '_> {
    pub(super) fn document(mut self) -> Result<Map, SyntaxError> {
        loop {
            self.cursor.skip_while(char::is_whitespace);
            match self.cursor.peek() {
                None => break,
                Some('{') => {
                    self.cursor.next();
                    if !self.block()? {
                        break;
                    }
                }
                Some(_) if self.comment()? => {}
                Some(_) => match self.entry()? {
                    Entry::Done => self.end_of_top_value()?,
                    Entry::EndOfFile => break,
                },
            }
        }
        Ok(self.scopes.pop().unwrap_or_default())
    }

    /// A top-level `{ ... }`, whose entries belong to the document. False when the file ended in it.
    fn block(&mut self) -> Result<bool, SyntaxError> {
        self.descend()?;
        let mut state = BlockState::Entries;
        loop {
            state = match state {
                BlockState::Entries => {
                    self.cursor.skip_while(char::is_whitespace);
                    match self.cursor.peek() {
                        None => return Ok(false),
                        Some('{') => {
                            self.cursor.next();
                            if !self.block()? {
                                return Ok(false);
                            }
                            BlockState::Closing
                        }
                        Some('}') => {
                            self.cursor.next();
                            break;
                        }
                        Some(_) if self.comment()? => BlockState::Entries,
                        Some(_) => match self.entry()? {
                            Entry::Done => BlockState::AfterEntry,
                            Entry::EndOfFile => return Ok(false),
                        },
                    }
                }
                BlockState::AfterEntry => match self.cursor.peek() {
                    Some('#') => {
                        self.skip_comment();
                        BlockState::AfterEntry
                    }
                    Some('/') if self.cursor.peek_second() == Some('/') => {
                        self.skip_comment();
                        BlockState::AfterEntry
                    }
                    Some('}') => BlockState::Closing,
                    Some(c) if is_line_break(c) || c == ';' || c == ',' => {
                        self.cursor.next();
                        BlockState::Entries
                    }
                    Some(c) if is_blank(c) || c == '/' => {
                        self.cursor.next();
                        BlockState::AfterEntry
                    }
                    other => {
                        return Err(self.error(format!(
                            "Expected a block-level value to end with a new line, comment or EOF, but got '{}' instead.",
                            show(other)
                        )));
                    }
                },
                BlockState::Closing => match self.cursor.next() {
                    Some('#') => {
                        self.skip_comment();
                        BlockState::Entries
                    }
                    Some('/') if self.cursor.peek() == Some('/') => {
                        self.skip_comment();
                        BlockState::Entries
                    }
                    Some('}') => break,
                    Some(',' | ';') => BlockState::Entries,
                    Some(c) if is_line_break(c) || is_blank(c) || c == '/' => BlockState::Closing,
                    other => {
                        return Err(self.error(format!(
                            "Expected a block-level to end with a '}}', but got '{}' instead.",
                            show(other)
                        )));
                    }
                },
            };
        }
        self.nesting -= 1;
        Ok(true)
    }

    /// `key value` at the top level or in a top-level block.
    fn entry(&mut self) -> Result<Entry, SyntaxError> {
        let (name, span) = match self.key(false)? {
            Key::Include => return self.include().map(|()| Entry::Done),
            Key::Name(name, span) => (name, span),
        };
        self.cursor.skip_while(char::is_whitespace);
        match self.cursor.peek() {
            None if name == "}" => return Ok(Entry::EndOfFile),
            None => {
                let column = self.cursor.column(self.cursor.position());
                let text = format!("config is invalid ({}:{}:{column})", self.file, self.cursor.line());
                return Err(SyntaxError { text });
            }
            Some(c) if is_separator(c) => {
                self.cursor.next();
            }
            Some(_) => {}
        }
        let node = self.value(false)?;
        self.insert(name, Node { span, ..node })?;
        Ok(Entry::Done)
    }

    fn end_of_top_value(&mut self) -> Result<(), SyntaxError> {
        loop {
            match self.cursor.peek() {
                Some('#') => return Ok(()),
                Some('/') if self.cursor.peek_second() == Some('/') => return Ok(()),
                Some(c) if is_blank(c) || c == '/' => {
                    self.cursor.next();
                }
                None => return Ok(()),
                Some(c) if is_line_break(c) || matches!(c, ';' | ',' | '}') => {
                    self.cursor.next();
                    return Ok(());
                }
                Some(c) => {
                    self.cursor.next();
                    return Err(self.error(format!(
                        "Expected a top-level value to end with a new line, comment or EOF, but got '{c}' instead."
                    )));
                }
            }
        }
    }

    /// A key, or the keyword `include`. In a map (`in_map`) the end of the file is never welcome.
    pub(super) fn key(&mut self, in_map: bool) -> Result<Key, SyntaxError> {
        match self.cursor.peek() {
            Some(c) if is_separator(c) => {
                let stop = if in_map { "." } else { "" };
                return Err(self.error(format!("Unexpected key separator '{c}'{stop}")));
            }
            Some(quote @ ('"' | '\'')) => {
                self.cursor.next();
                let start = self.cursor.position();
                let span = self.span(start);
                self.cursor.skip_while(|c| c != quote);
                if self.cursor.peek().is_none() {
                    return Err(self.error("Unexpected EOF processing quoted key.".into()));
                }
                let name = self.text(self.cursor.slice(start))?;
                self.cursor.next();
                return Ok(Key::Name(name, span));
            }
            _ => {}
        }
        let start = self.cursor.position();
        let span = self.span(start);
        self.cursor.next();
        self.cursor.skip_while(|c| !c.is_whitespace() && !is_separator(c));
        let name = self.text(self.cursor.slice(start))?;
        match self.cursor.peek() {
            None if in_map => Err(self.error("Unexpected EOF processing map key.".into())),
            Some(c) if c.is_whitespace() && name.eq_ignore_ascii_case("include") => Ok(Key::Include),
            _ => Ok(Key::Name(name, span)),
        }
    }
}
