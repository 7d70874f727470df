//! The parsed tree: values with the place they were written at.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Where a value was written; for a map entry, where its key begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub file: Arc<str>,
    pub line: u32,
    /// As nats-server counts: bytes from the start of the file in the first line, from the line break elsewhere.
    pub column: u32,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub value: Value,
    pub span: Span,
    /// Somebody referred to this entry as `$NAME`, so an unknown key is not a mistake (F-06).
    pub is_variable: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// Kept as text: no key takes one.
    DateTime(String),
    List(Vec<Node>),
    Map(Map),
}

impl Value {
    /// For messages: "expected a string, got a list".
    pub fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number with decimals",
            Self::Bool(_) => "a boolean",
            Self::DateTime(_) => "a date",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// The name nats-server uses for the type in the messages that we keep word for word.
    pub fn go_type(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::Integer(_) => "int64",
            Self::Float(_) => "float64",
            Self::Bool(_) => "bool",
            Self::DateTime(_) => "time.Time",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
        }
    }

    /// Rough memory of the tree, which bounds what variables may multiply.
    pub fn weight(&self) -> usize {
        const NODE: usize = 96;
        NODE + match self {
            Self::String(text) | Self::DateTime(text) => text.len(),
            Self::Integer(_) | Self::Float(_) | Self::Bool(_) => 0,
            Self::List(items) => items.iter().map(|item| item.value.weight()).sum(),
            Self::Map(map) => map.iter().map(|(key, node)| key.len() + node.value.weight()).sum(),
        }
    }
}

impl PartialEq for Node {
    /// Values only: where something was written does not make it another configuration.
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// Entries in the order of the file. A key that is written again replaces the earlier value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Map {
    entries: Vec<(String, Node)>,
    positions: HashMap<String, usize>,
}

impl Map {
    pub fn insert(&mut self, key: String, node: Node) {
        match self.positions.get(&key) {
            Some(position) => self.entries[*position].1 = node,
            None => {
                self.positions.insert(key.clone(), self.entries.len());
                self.entries.push((key, node));
            }
        }
    }

    /// Exact spelling; option keys are compared without case by their readers.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.positions.get(key).map(|position| &self.entries[*position].1)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.positions.get(key).map(|position| &mut self.entries[*position].1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.entries.iter().map(|(key, node)| (key.as_str(), node))
    }

    pub fn into_entries(self) -> impl Iterator<Item = (String, Node)> {
        self.entries.into_iter()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(key, node)| other.get(key) == Some(node))
    }
}
