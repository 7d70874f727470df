//! What stands elsewhere: variables and included files (F-04, F-05).

use std::path::{Component, Path, PathBuf};

use super::cursor::{is_blank, is_line_break};
use super::parser::{INCLUDE_DEPTH_MAX, Parser, SyntaxError, parse_included};
use super::value::{Node, Value};

impl Parser<'_, '_, '_> {
    /// `include` has been read: reads the file's name and puts its entries into the map at hand.
    pub(super) fn include(&mut self) -> Result<(), SyntaxError> {
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
        let path = resolve(&self.directory, &name);
        let map = parse_included(&path, self.shared, self.include_depth + 1)
            .map_err(|error| SyntaxError { text: format!("error parsing include file '{name}', {error}") })?;
        for (key, node) in map.into_entries() {
            self.insert(key, node)?;
        }
        Ok(())
    }

    pub(super) fn variable(&mut self, name: &str, start: usize) -> Result<Node, SyntaxError> {
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
}

/// The file that `name` means inside a file of `directory`. As in nats-server the name is always taken relative to
/// the including file, even when it begins with `/`.
fn resolve(directory: &Path, name: &str) -> PathBuf {
    clean(&directory.join(name.trim_start_matches('/')))
}

/// The directory of a file, `.` when it has none.
pub(super) fn directory_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => clean(parent),
        _ => PathBuf::from("."),
    }
}

/// Removes `.` and resolves `..` by name only.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(cleaned.components().next_back(), Some(Component::Normal(_))) => {
                cleaned.pop();
            }
            Component::ParentDir if cleaned.has_root() => {}
            other => cleaned.push(other),
        }
    }
    if cleaned.as_os_str().is_empty() { PathBuf::from(".") } else { cleaned }
}
