//! Subject transforms (section 3): one engine for account mappings, streams, republish, sources and imports.
//!
//! A transform matches subjects against a source with wildcards and rebuilds them after a destination whose tokens are
//! literals, references to wildcards, or functions of them. Pure, except that `random` asks its caller for a number.

use std::fmt;

use super::decimal;
use super::subject;

/// A parsed pair of source and destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    source: Vec<u8>,
    source_tokens: usize,
    parts: Vec<Part>,
    /// The destination ends in `>`: what the source's `>` matched is appended.
    keeps_tail: bool,
}

/// One token of the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    /// The token at this position of the subject; positions count from 0 from here on.
    Token(usize),
    /// FNV-1a of the tokens, or of the whole subject when there are none, modulo `buckets`.
    Partition {
        buckets: u32,
        tokens: Vec<usize>,
    },
    Random {
        below: u32,
    },
    SplitFromLeft {
        token: usize,
        at: usize,
    },
    SplitFromRight {
        token: usize,
        at: usize,
    },
    SliceFromLeft {
        token: usize,
        size: usize,
    },
    SliceFromRight {
        token: usize,
        size: usize,
    },
    Split {
        token: usize,
        delimiter: Vec<u8>,
    },
    Left {
        token: usize,
        length: usize,
    },
    Right {
        token: usize,
        length: usize,
    },
}

/// Why a destination is refused; the text is that of the genuine server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransformError {
    BadSubject,
    InvalidTransform(String),
    UnknownFunction(String),
    IndexOutOfRange(String),
    NotEnoughArguments(String),
    InvalidArgument(String),
    TooManyArguments(String),
}

impl fmt::Display for TransformError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, token) = match self {
            Self::BadSubject => return formatter.write_str("invalid subject"),
            Self::InvalidTransform(token) => ("invalid transform", token),
            Self::UnknownFunction(token) => ("unknown function", token),
            Self::IndexOutOfRange(token) => ("wildcard index out of range", token),
            Self::NotEnoughArguments(token) => ("not enough arguments passed to the function", token),
            Self::InvalidArgument(token) => ("function argument is invalid or in the wrong format", token),
            Self::TooManyArguments(token) => ("too many arguments passed to the function", token),
        };
        write!(formatter, "invalid mapping destination: {what}")?;
        if token.is_empty() { Ok(()) } else { write!(formatter, " in {token}") }
    }
}

impl std::error::Error for TransformError {}

/// Whether a stream or a source may be configured with this transform. An empty destination changes nothing.
pub fn check(source: &str, destination: &str) -> Result<(), TransformError> {
    if destination.is_empty() {
        return Ok(());
    }
    let mut tail_seen = false;
    for token in destination.split('.') {
        if token.is_empty() || tail_seen {
            return Err(TransformError::InvalidTransform(token.to_owned()));
        }
        if is_mustache(token) && function(token).is_none() {
            return Err(TransformError::UnknownFunction(token.to_owned()));
        }
        tail_seen = token == ">";
        if !is_mustache(token) && token.contains(['\t', '\n', '\u{0c}', '\r', ' ']) {
            return Err(TransformError::InvalidTransform(String::new()));
        }
    }
    Transform::new(source, destination).map(drop)
}

impl Transform {
    /// An empty source is every subject.
    pub fn new(source: &str, destination: &str) -> Result<Self, TransformError> {
        let source = if source.is_empty() { ">" } else { source };
        let source_tokens: Vec<&str> = source.split('.').collect();
        let tokens: Vec<&str> = destination.split('.').collect();
        let keeps_tail = tokens.last() == Some(&">");
        let matches_tail = source_tokens.last() == Some(&">");
        let valid = subject::is_valid(source.as_bytes())
            && destination.len() <= usize::from(u16::MAX)
            && is_valid_destination(&tokens);
        if !valid || tokens.contains(&"*") || keeps_tail != matches_tail {
            return Err(TransformError::BadSubject);
        }
        let wildcards: Vec<usize> =
            source_tokens.iter().enumerate().filter(|(_, token)| **token == "*").map(|(at, _)| at).collect();
        let literal_tokens = if keeps_tail { &tokens[..tokens.len() - 1] } else { &tokens[..] };
        let is_literal = wildcards.is_empty() && !matches_tail;
        let parts =
            literal_tokens.iter().map(|token| parse_token(token, &wildcards, is_literal)).collect::<Result<_, _>>()?;
        Ok(Self { source: source.as_bytes().to_vec(), source_tokens: source_tokens.len(), parts, keeps_tail })
    }

    /// Appends what a literal subject becomes; false, and nothing appended, when the source does not match it.
    /// `random` gives a number below its argument.
    pub fn apply(&self, subject: &[u8], random: &mut dyn FnMut(u32) -> u32, out: &mut Vec<u8>) -> bool {
        if !subject::matches(&self.source, subject) {
            return false;
        }
        let tokens: Vec<&[u8]> = subject::tokens(subject).collect();
        for (position, part) in self.parts.iter().enumerate() {
            if position > 0 {
                out.push(b'.');
            }
            part.append(subject, &tokens, random, out);
        }
        if self.keeps_tail {
            for (position, token) in tokens[self.source_tokens - 1..].iter().enumerate() {
                if position > 0 || !self.parts.is_empty() {
                    out.push(b'.');
                }
                out.extend_from_slice(token);
            }
        }
        true
    }
}

impl Part {
    fn append(&self, subject: &[u8], tokens: &[&[u8]], random: &mut dyn FnMut(u32) -> u32, out: &mut Vec<u8>) {
        let token = |at: usize| tokens.get(at).copied().unwrap_or_default();
        match self {
            Self::Literal(text) => out.extend_from_slice(text),
            Self::Token(at) => out.extend_from_slice(token(*at)),
            Self::Partition { buckets, tokens } => {
                let mut hash = Fnv::new();
                if tokens.is_empty() {
                    hash.write(subject);
                }
                tokens.iter().for_each(|at| hash.write(token(*at)));
                decimal::append(out, hash.0.checked_rem(*buckets).unwrap_or(0).into());
            }
            Self::Random { below } => decimal::append(out, if *below == 0 { 0 } else { random(*below).into() }),
            Self::SplitFromLeft { token: at, at: cut } => split_at(token(*at), Some(*cut), out),
            Self::SplitFromRight { token: at, at: cut } => {
                split_at(token(*at), token(*at).len().checked_sub(*cut), out);
            }
            Self::SliceFromLeft { token: at, size } => slice(token(*at), *size, 0, out),
            Self::SliceFromRight { token: at, size } => {
                let text = token(*at);
                slice(text, *size, text.len().checked_rem(*size).unwrap_or(0), out);
            }
            Self::Split { token: at, delimiter } => split(token(*at), delimiter, out),
            Self::Left { token: at, length } => {
                let text = token(*at);
                out.extend_from_slice(if (1..text.len()).contains(length) { &text[..*length] } else { text });
            }
            Self::Right { token: at, length } => {
                let text = token(*at);
                let kept = if (1..text.len()).contains(length) { &text[text.len() - length..] } else { text };
                out.extend_from_slice(kept);
            }
        }
    }
}

/// The token in two, unless the cut is at or beyond an end.
fn split_at(text: &[u8], cut: Option<usize>, out: &mut Vec<u8>) {
    match cut {
        Some(cut) if (1..text.len()).contains(&cut) => {
            out.extend_from_slice(&text[..cut]);
            out.push(b'.');
            out.extend_from_slice(&text[cut..]);
        }
        _ => out.extend_from_slice(text),
    }
}

/// The token in pieces of `size`; the first has `first` bytes when that is not 0.
fn slice(text: &[u8], size: usize, first: usize, out: &mut Vec<u8>) {
    if size == 0 || size >= text.len() {
        out.extend_from_slice(text);
        return;
    }
    let (head, rest) = text.split_at(first);
    out.extend_from_slice(head);
    for (position, piece) in rest.chunks(size).enumerate() {
        if position > 0 || !head.is_empty() {
            out.push(b'.');
        }
        out.extend_from_slice(piece);
    }
}

/// The token split on a delimiter, without empty pieces.
fn split(text: &[u8], delimiter: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    let mut is_first = true;
    while !rest.is_empty() {
        let end = if delimiter.is_empty() { Some(1) } else { memchr::memmem::find(rest, delimiter) };
        let (piece, next) = match end {
            Some(end) => (&rest[..end], &rest[end + delimiter.len()..]),
            None => (rest, &rest[rest.len()..]),
        };
        if !piece.is_empty() {
            if !is_first {
                out.push(b'.');
            }
            out.extend_from_slice(piece);
            is_first = false;
        }
        rest = next;
    }
}

/// FNV-1a, 32 bits: the partition of a subject must be the same on every server of a mixed fleet.
struct Fnv(u32);

impl Fnv {
    fn new() -> Self {
        Self(0x811c_9dc5)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}

fn is_valid_destination(tokens: &[&str]) -> bool {
    if tokens.len() > subject::TOKENS_MAX {
        return false;
    }
    let last = tokens.len() - 1;
    tokens.iter().enumerate().all(|(at, token)| {
        let spaces_allowed = is_mustache(token);
        !token.is_empty()
            && (*token != ">" || at == last)
            && (spaces_allowed || !token.contains([' ', '\t', '\r', '\n', '\u{0c}']))
    })
}

fn is_mustache(token: &str) -> bool {
    token.len() > 4 && token.starts_with("{{") && token.ends_with("}}")
}

/// The functions, with the positions of the letters that may be upper case.
const FUNCTIONS: &[(&str, &[usize])] = &[
    ("wildcard", &[0]),
    ("partition", &[0]),
    ("random", &[0]),
    ("splitfromleft", &[0, 5, 9]),
    ("splitfromright", &[0, 5, 9]),
    ("slicefromleft", &[0, 5, 9]),
    ("slicefromright", &[0, 5, 9]),
    ("split", &[0]),
    ("left", &[0]),
    ("right", &[0]),
];

/// The function of a `{{name(arguments)}}` and its arguments.
fn function(token: &str) -> Option<(&'static str, Vec<&str>)> {
    if !is_mustache(token) {
        return None;
    }
    let inner = token[2..token.len() - 2].trim_ascii();
    let (name, arguments) = inner.split_once('(')?;
    let name = name.trim_ascii_end();
    let arguments = arguments.strip_suffix(')')?;
    let (known, _) = FUNCTIONS.iter().find(|(known, capitals)| {
        let capitals_only_there =
            || name.bytes().enumerate().all(|(at, byte)| !byte.is_ascii_uppercase() || capitals.contains(&at));
        name.eq_ignore_ascii_case(known) && capitals_only_there()
    })?;
    let arguments = arguments.split(',').enumerate();
    Some((known, arguments.map(|(at, text)| if at == 0 { text } else { text.trim_ascii_start() }).collect()))
}

fn parse_token(token: &str, wildcards: &[usize], source_is_literal: bool) -> Result<Part, TransformError> {
    let part = parse_part(token)?;
    let in_range = |index: i64| -> Result<usize, TransformError> {
        if source_is_literal {
            return Err(TransformError::IndexOutOfRange(token.to_owned()));
        }
        let Some(position) = usize::try_from(index).ok().filter(|index| *index > 0) else {
            return Ok(0);
        };
        let found = wildcards.get(position - 1).copied();
        found.ok_or_else(|| TransformError::IndexOutOfRange(format!("{token}: [{index}]")))
    };
    let number = |value: i64| usize::try_from(value).unwrap_or(0);
    Ok(match part {
        Parsed::Literal => Part::Literal(token.as_bytes().to_vec()),
        Parsed::Wildcard(index) => Part::Token(in_range(index)?),
        Parsed::Random(below) => Part::Random { below: u32::try_from(below).unwrap_or(0) },
        Parsed::Partition(buckets, indexes) => {
            let tokens = if source_is_literal {
                Vec::new()
            } else {
                indexes.into_iter().map(in_range).collect::<Result<_, _>>()?
            };
            Part::Partition { buckets: u32::try_from(buckets).unwrap_or(0), tokens }
        }
        Parsed::Split(index, delimiter) => Part::Split { token: in_range(index)?, delimiter },
        Parsed::Cut("splitfromleft", index, at) => Part::SplitFromLeft { token: in_range(index)?, at: number(at) },
        Parsed::Cut("splitfromright", index, at) => Part::SplitFromRight { token: in_range(index)?, at: number(at) },
        Parsed::Cut("slicefromleft", index, size) => {
            Part::SliceFromLeft { token: in_range(index)?, size: number(size) }
        }
        Parsed::Cut("slicefromright", index, size) => {
            Part::SliceFromRight { token: in_range(index)?, size: number(size) }
        }
        Parsed::Cut("left", index, length) => Part::Left { token: in_range(index)?, length: number(length) },
        Parsed::Cut(_, index, length) => Part::Right { token: in_range(index)?, length: number(length) },
    })
}

/// A token of the destination before its indexes are looked up in the source.
enum Parsed {
    Literal,
    Wildcard(i64),
    Partition(i64, Vec<i64>),
    Random(i64),
    Split(i64, Vec<u8>),
    /// The functions of an index and a number.
    Cut(&'static str, i64, i64),
}

fn parse_part(token: &str) -> Result<Parsed, TransformError> {
    if let Some(index) = token.strip_prefix('$') {
        return Ok(index.parse().map_or(Parsed::Literal, Parsed::Wildcard));
    }
    if !is_mustache(token) {
        return Ok(Parsed::Literal);
    }
    let owned = || token.to_owned();
    let Some((name, arguments)) = function(token) else {
        return Err(TransformError::UnknownFunction(owned()));
    };
    let number = |text: &str| -> Result<i64, TransformError> {
        let value: Result<i64, _> = text.trim_matches(' ').parse();
        value.ok().filter(|value| *value <= i64::from(i32::MAX)).ok_or_else(|| TransformError::InvalidArgument(owned()))
    };
    let exactly = |count: usize| match arguments.len() {
        few if few < count => Err(TransformError::NotEnoughArguments(owned())),
        many if many > count => Err(TransformError::TooManyArguments(owned())),
        _ => Ok(()),
    };
    match name {
        "wildcard" if arguments == [""] => Err(TransformError::NotEnoughArguments(owned())),
        "wildcard" => exactly(1).and_then(|()| number(arguments[0])).map(Parsed::Wildcard),
        "random" if arguments.len() != 1 => Err(TransformError::NotEnoughArguments(owned())),
        "random" => number(arguments[0]).map(Parsed::Random),
        "partition" => {
            let indexes = arguments[1..].iter().map(|text| number(text)).collect::<Result<_, _>>();
            Ok(Parsed::Partition(number(arguments[0])?, indexes?))
        }
        "split" => {
            exactly(2)?;
            let index = number(arguments[0])?;
            if arguments[1].contains([' ', '.']) {
                return Err(TransformError::InvalidArgument(owned()));
            }
            Ok(Parsed::Split(index, arguments[1].as_bytes().to_vec()))
        }
        _ => exactly(2).and_then(|()| Ok(Parsed::Cut(name, number(arguments[0])?, number(arguments[1])?))),
    }
}

#[cfg(test)]
#[path = "transform_tests.rs"]
mod tests;
