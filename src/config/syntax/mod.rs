//! The nats.conf grammar (F-01 to F-05): from text to a tree of [`Node`]s that remember where they were written.
//!
//! The language is whatever nats-server reads, oddities included, because existing files are the contract. Known
//! departures, each on the side of telling the operator more: text that ends inside a string, a key without a value
//! before `}`, a lone `/`, an unknown number suffix and an overflowing size are errors, and `[1]` needs no blank
//! before its bracket.

mod collections;
mod cursor;
mod digest;
mod document;
mod include;
mod number;
mod parser;
mod strings;
mod value;

pub(crate) use digest::digest;
pub(crate) use parser::{parse_file, parse_text};
pub(crate) use value::{Map, Node, Span, Value};

#[cfg(test)]
mod tests;
