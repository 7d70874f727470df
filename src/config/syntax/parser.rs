//! The parser: one recursive function per construct, straight from characters to the tree. Here is what it knows and
//! what it bounds; the constructs are in `document`, `collections`, `strings` and `include`.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cursor::{Cursor, is_line_break};
use super::include::directory_of;
use super::value::{Map, Node, Span, Value};

/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Files that include one another in a row.
pub(super) const INCLUDE_DEPTH_MAX: usize = 32;
/// Maps and lists inside one another.
const NESTING_MAX: usize = 100;
/// Memory of the whole tree, so that variables that contain variables cannot multiply without end.
const TREE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Looks a name up in the environment.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Text that is not a configuration, with the place where it stopped being one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(super) text: String,
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
pub(crate) fn parse_text(text: &[u8], environment: Environment<'_>) -> Result<Map, SyntaxError> {
    let mut shared = Shared::new(environment);
    Parser::new(text, Path::new(""), &mut shared, 0).document()
}

pub(super) fn parse_included(path: &Path, shared: &mut Shared<'_>, depth: usize) -> Result<Map, SyntaxError> {
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
pub(super) struct Shared<'a> {
    pub(super) environment: Environment<'a>,
    /// Names whose environment value is being parsed; meeting one again is a cycle.
    pub(super) pending_names: HashSet<String>,
    tree_bytes_left: usize,
}

impl<'a> Shared<'a> {
    fn new(environment: Environment<'a>) -> Self {
        Self { environment, pending_names: HashSet::new(), tree_bytes_left: TREE_BYTES_MAX }
    }
}

pub(super) struct Parser<'t, 's, 'e> {
    pub(super) cursor: Cursor<'t>,
    pub(super) file: Arc<str>,
    pub(super) directory: PathBuf,
    pub(super) shared: &'s mut Shared<'e>,
    /// Maps that are being read, outermost first: where variables are looked up.
    pub(super) scopes: Vec<Map>,
    pub(super) include_depth: usize,
    pub(super) nesting: usize,
    /// Set for the value of an environment variable: everything in it was written where the variable is used.
    pub(super) fixed_span: Option<Span>,
}

impl<'t, 's, 'e> Parser<'t, 's, 'e> {
    pub(super) fn new(text: &'t [u8], path: &Path, shared: &'s mut Shared<'e>, include_depth: usize) -> Self {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        Self {
            cursor: Cursor::new(text),
            file: path.to_string_lossy().into(),
            directory: directory_of(path),
            shared,
            scopes: vec![Map::default()],
            include_depth,
            nesting: 0,
            fixed_span: None,
        }
    }

    pub(super) fn insert(&mut self, key: String, node: Node) -> Result<(), SyntaxError> {
        self.charge(&node)?;
        match self.scopes.last_mut() {
            Some(scope) => scope.insert(key, node),
            None => unreachable!("the document is a scope"),
        }
        Ok(())
    }

    /// Counts a node that joins the tree. Its children were counted when they joined it, so nested trees are counted
    /// more than once: the bound is on the side of caution.
    pub(super) fn charge(&mut self, node: &Node) -> Result<(), SyntaxError> {
        match self.shared.tree_bytes_left.checked_sub(node.value.weight()) {
            Some(left) => {
                self.shared.tree_bytes_left = left;
                Ok(())
            }
            None => Err(self.located("the configuration is too large; do variables contain one another?".into())),
        }
    }

    pub(super) fn descend(&mut self) -> Result<(), SyntaxError> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(self.error(format!("Maps and arrays are nested more than {NESTING_MAX} deep.")));
        }
        Ok(())
    }

    /// Skips a comment if there is one here. A lone `/` is an error.
    pub(super) fn comment(&mut self) -> Result<bool, SyntaxError> {
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
    pub(super) fn skip_comment(&mut self) {
        self.cursor.skip_while(|c| !is_line_break(c));
    }

    pub(super) fn text(&self, bytes: &[u8]) -> Result<String, SyntaxError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_string()),
            Err(_) => Err(self.error("Text is not valid UTF-8.".into())),
        }
    }

    pub(super) fn node(&self, start: usize, value: Value) -> Node {
        Node { value, span: self.span(start), is_variable: false }
    }

    pub(super) fn span(&self, start: usize) -> Span {
        match &self.fixed_span {
            Some(span) => span.clone(),
            None => Span { file: Arc::clone(&self.file), line: self.cursor.line(), column: self.cursor.column(start) },
        }
    }

    /// An error of the grammar, in the words of nats-server, which tools look for, with the place after them.
    pub(super) fn error(&self, text: String) -> SyntaxError {
        self.located(format!("Parse error on line {}: '{text}'", self.cursor.line()))
    }

    pub(super) fn located(&self, text: String) -> SyntaxError {
        let span = self.span(self.cursor.position());
        if span.file.is_empty() { SyntaxError { text } } else { SyntaxError { text: format!("{text} ({span})") } }
    }
}
