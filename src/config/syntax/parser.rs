//! The parser: one recursive function per construct, straight from characters to the tree.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cursor::{Cursor, is_blank, is_line_break, is_separator};
use super::include;
use super::number::{self, Scanned, show};
use super::value::{Map, Node, Span, Value};

/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Files that include one another in a row.
const INCLUDE_DEPTH_MAX: usize = 32;
/// Maps and lists inside one another.
const NESTING_MAX: usize = 100;
/// Memory of the whole tree, so that variables that contain variables cannot multiply without end.
const TREE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Looks a name up in the environment.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Text that is not a configuration, with the place where it stopped being one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    text: String,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for SyntaxError {}

/// Reads a file and everything that it includes.
pub(crate) fn parse_file(path: &Path, environment: Environment<'_>) -> Result<Map, SyntaxError> {
    let mut shared = Shared::new(environment);
    parse_included(path, &mut shared, 0)
}

/// Reads text that does not come from a file; includes are relative to the current directory.
#[cfg(test)]
pub(crate) fn parse_text(text: &[u8], environment: Environment<'_>) -> Result<Map, SyntaxError> {
    let mut shared = Shared::new(environment);
    Parser::new(text, Path::new(""), &mut shared, 0).document()
}

fn parse_included(path: &Path, shared: &mut Shared<'_>, depth: usize) -> Result<Map, SyntaxError> {
    let text = read(path).map_err(|error| SyntaxError { text: format!("open {}: {error}", path.display()) })?;
    Parser::new(&text, path, shared, depth).document()
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let describe = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_string(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_string(),
        _ => error.to_string(),
    };
    let file = std::fs::File::open(path).map_err(describe)?;
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, FILE_BYTES_MAX + 1), &mut text).map_err(describe)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("file is larger than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

/// What all files of one configuration share.
struct Shared<'a> {
    environment: Environment<'a>,
    /// Names whose environment value is being parsed; meeting one again is a cycle.
    pending_names: HashSet<String>,
    tree_bytes_left: usize,
}

impl<'a> Shared<'a> {
    fn new(environment: Environment<'a>) -> Self {
        Self { environment, pending_names: HashSet::new(), tree_bytes_left: TREE_BYTES_MAX }
    }
}

struct Parser<'t, 's, 'e> {
    cursor: Cursor<'t>,
    file: Arc<str>,
    directory: PathBuf,
    shared: &'s mut Shared<'e>,
    /// Maps that are being read, outermost first: where variables are looked up.
    scopes: Vec<Map>,
    include_depth: usize,
    nesting: usize,
    /// Set for the value of an environment variable: everything in it was written where the variable is used.
    fixed_span: Option<Span>,
}

/// A key, or what stands in its place.
enum Key {
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

impl<'t, 's, 'e> Parser<'t, 's, 'e> {
    fn new(text: &'t [u8], path: &Path, shared: &'s mut Shared<'e>, include_depth: usize) -> Self {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        Self {
            cursor: Cursor::new(text),
            file: path.to_string_lossy().into(),
            directory: include::directory_of(path),
            shared,
            scopes: vec![Map::default()],
            include_depth,
            nesting: 0,
            fixed_span: None,
        }
    }

    fn document(mut self) -> Result<Map, SyntaxError> {
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
    fn key(&mut self, in_map: bool) -> Result<Key, SyntaxError> {
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

    fn value(&mut self, in_list: bool) -> Result<Node, SyntaxError> {
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

    fn scanned(&mut self, start: usize, scanned: Scanned) -> Result<Node, SyntaxError> {
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
    fn bare(&mut self, start: usize) -> Result<Node, SyntaxError> {
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

    fn quoted(&mut self) -> Result<Node, SyntaxError> {
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

    fn double_quoted(&mut self) -> Result<Node, SyntaxError> {
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
    fn block_string(&mut self) -> Result<Node, SyntaxError> {
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

    /// `include` has been read: reads the file's name and puts its entries into the map at hand.
    fn include(&mut self) -> Result<(), SyntaxError> {
        self.cursor.skip_while(is_blank);
        let refuse = |what: &str| format!("Expected include value but found {what}");
        let name = match self.cursor.peek() {
            Some(quote @ ('"' | '\'')) => {
                self.cursor.next();
                let start = self.cursor.position();
                self.cursor.skip_while(|c| c != quote);
                let name = self.cursor.slice(start);
                if !self.cursor.take(quote) {
                    return Err(self.error("Unexpected EOF in quoted include".into()));
                }
                name
            }
            Some('[') => return Err(self.error(refuse("start of an array"))),
            Some('{') => return Err(self.error(refuse("start of a map"))),
            Some('(') => return Err(self.error(refuse("start of a block"))),
            Some('\\') => return Err(self.error(refuse("escape sequence"))),
            Some(c) if c == '-' || c.is_ascii_digit() => return Err(self.error(refuse("start of a number"))),
            Some(c) if is_line_break(c) => {
                self.cursor.next();
                return Err(self.error(refuse("new line")));
            }
            _ => {
                let start = self.cursor.position();
                self.cursor.skip_while(|c| !is_line_break(c) && !is_blank(c) && !matches!(c, ';' | '}' | '\''));
                let name = self.cursor.slice(start);
                self.cursor.take('\'');
                name
            }
        };
        let name = self.text(name)?;
        if self.include_depth == INCLUDE_DEPTH_MAX {
            return Err(self.located(format!("include '{name}' is nested more than {INCLUDE_DEPTH_MAX} files deep")));
        }
        let path = include::resolve(&self.directory, &name);
        let map = parse_included(&path, self.shared, self.include_depth + 1)
            .map_err(|error| SyntaxError { text: format!("error parsing include file '{name}', {error}") })?;
        for (key, node) in map.into_entries() {
            self.insert(key, node)?;
        }
        Ok(())
    }

    fn variable(&mut self, name: &str, start: usize) -> Result<Node, SyntaxError> {
        // An unquoted bcrypt hash looks like a variable and is none (F-04).
        if ["2a$", "2b$", "2x$", "2y$"].iter().any(|prefix| name.starts_with(prefix)) {
            return Ok(self.node(start, Value::String(format!("${name}"))));
        }
        for scope in self.scopes.iter_mut().rev() {
            if let Some(node) = scope.get_mut(name) {
                node.is_variable = true;
                let value = node.value.clone();
                return Ok(self.node(start + 1, value));
            }
        }
        let line = self.cursor.line();
        match self.environment_value(name, start) {
            Ok(Some(value)) => Ok(self.node(start + 1, value)),
            Ok(None) => Err(self.located(format!("variable reference for '{name}' on line {line} can not be found"))),
            Err(error) => {
                Err(self
                    .located(format!("variable reference for '{name}' on line {line} could not be parsed: {error}")))
            }
        }
    }

    /// The environment's value, read as a configuration value and not only as text.
    fn environment_value(&mut self, name: &str, start: usize) -> Result<Option<Value>, SyntaxError> {
        if self.shared.pending_names.contains(name) {
            return Err(SyntaxError { text: format!("variable reference cycle for '{name}'") });
        }
        let Some(text) = (self.shared.environment)(name) else { return Ok(None) };
        let span = self.span(start);
        let text = format!("pk={text}");
        self.shared.pending_names.insert(name.to_string());
        let mut parser = Parser::new(text.as_bytes(), Path::new(""), self.shared, self.include_depth);
        parser.fixed_span = Some(span);
        parser.nesting = self.nesting;
        let map = parser.document();
        self.shared.pending_names.remove(name);
        Ok(map?.get("pk").map(|node| node.value.clone()))
    }

    fn insert(&mut self, key: String, node: Node) -> Result<(), SyntaxError> {
        self.charge(&node)?;
        match self.scopes.last_mut() {
            Some(scope) => scope.insert(key, node),
            None => unreachable!("the document is a scope"),
        }
        Ok(())
    }

    /// Counts a node that joins the tree. Its children were counted when they joined it, so nested trees are counted
    /// more than once: the bound is on the side of caution.
    fn charge(&mut self, node: &Node) -> Result<(), SyntaxError> {
        match self.shared.tree_bytes_left.checked_sub(node.value.weight()) {
            Some(left) => {
                self.shared.tree_bytes_left = left;
                Ok(())
            }
            None => Err(self.located("the configuration is too large; do variables contain one another?".into())),
        }
    }

    fn descend(&mut self) -> Result<(), SyntaxError> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(self.error(format!("Maps and arrays are nested more than {NESTING_MAX} deep.")));
        }
        Ok(())
    }

    /// Skips a comment if there is one here. A lone `/` is an error.
    fn comment(&mut self) -> Result<bool, SyntaxError> {
        match (self.cursor.peek(), self.cursor.peek_second()) {
            (Some('#'), _) | (Some('/'), Some('/')) => {
                self.skip_comment();
                Ok(true)
            }
            (Some('/'), _) => Err(self.error("Unexpected '/': comments start with '#' or '//'.".into())),
            _ => Ok(false),
        }
    }

    /// Up to the line break, which the caller may need to see.
    fn skip_comment(&mut self) {
        self.cursor.skip_while(|c| !is_line_break(c));
    }

    fn text(&self, bytes: &[u8]) -> Result<String, SyntaxError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_string()),
            Err(_) => Err(self.error("Text is not valid UTF-8.".into())),
        }
    }

    fn node(&self, start: usize, value: Value) -> Node {
        Node { value, span: self.span(start), is_variable: false }
    }

    fn span(&self, start: usize) -> Span {
        match &self.fixed_span {
            Some(span) => span.clone(),
            None => Span { file: Arc::clone(&self.file), line: self.cursor.line(), column: self.cursor.column(start) },
        }
    }

    /// An error of the grammar, in the words of nats-server, which tools look for, with the place after them.
    fn error(&self, text: String) -> SyntaxError {
        self.located(format!("Parse error on line {}: '{text}'", self.cursor.line()))
    }

    fn located(&self, text: String) -> SyntaxError {
        let span = self.span(self.cursor.position());
        if span.file.is_empty() { SyntaxError { text } } else { SyntaxError { text: format!("{text} ({span})") } }
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}
