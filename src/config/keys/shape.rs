//! Shapes of blocks that are only checked: which keys they have and what those take.

use super::super::duration::parse_duration;
use super::super::reader::Entry;
use super::super::report::Report;
use super::super::syntax::{Node, Value};
use super::top::listen;

/// What a value has to look like.
pub(super) enum Shape {
    Any,
    Bool,
    Integer,
    Text,
    /// A duration, or seconds as an integer.
    Duration,
    /// A duration or any number of seconds.
    Seconds,
    /// A port or `host:port`.
    Listen,
    /// A boolean or text.
    Switch,
    /// Text or a list of texts.
    Texts,
    /// A list of values of one shape.
    List(&'static Shape),
    /// A map with these keys; names of one key are separated by `|`.
    Map(&'static [(&'static str, Shape)]),
    /// A map with any keys.
    MapOf(&'static Shape),
    /// One of these words, in any case.
    Word(&'static [&'static str]),
    /// A duration in quotes.
    DurationText,
    /// The first shape for a map, the second for anything else.
    MapOr(&'static Shape, &'static Shape),
}

pub(super) fn check(entry: Entry<'_>, shape: &Shape, report: &mut Report) {
    let node = entry.node;
    match shape {
        Shape::Any => {}
        Shape::Bool => drop(entry.boolean(report)),
        Shape::Integer => drop(entry.integer(report)),
        Shape::Text => drop(entry.string(report)),
        Shape::Duration => drop(entry.duration(report)),
        Shape::Seconds => check_seconds(entry, report),
        Shape::Listen => drop(listen(entry, report)),
        Shape::Switch if matches!(node.value, Value::Bool(_)) => {}
        Shape::Switch => drop(entry.string(report)),
        Shape::Texts => drop(entry.strings(entry.key, report)),
        Shape::List(inner) => {
            for item in entry.list(report).unwrap_or_default() {
                check(Entry::new(entry.key, item), inner, report);
            }
        }
        Shape::Map(keys) => check_map(entry, keys, report),
        Shape::MapOf(inner) => {
            if let Some(map) = entry.map(report) {
                for (key, node) in map.iter() {
                    check(Entry::new(key, node), inner, report);
                }
            }
        }
        Shape::Word(words) => {
            let found = entry.string(report);
            if let Some(text) = found.filter(|text| !words.iter().any(|word| word.eq_ignore_ascii_case(text))) {
                let words = words.join("', '");
                report.error(&node.span, format_args!("expected {:?} to be one of '{words}', got {text:?}", entry.key));
            }
        }
        Shape::DurationText => drop(entry.duration_string(report)),
        Shape::MapOr(inner, _) if matches!(node.value, Value::Map(_)) => check(entry, inner, report),
        Shape::MapOr(_, other) => check(entry, other, report),
    }
}

fn check_map(entry: Entry<'_>, keys: &[(&str, Shape)], report: &mut Report) {
    let Some(map) = entry.map(report) else { return };
    for (key, node) in map.iter() {
        let name = key.to_ascii_lowercase();
        match keys.iter().find(|(names, _)| names.split('|').any(|known| known == name)) {
            Some((_, shape)) => check(Entry::new(key, node), shape, report),
            None => report.unknown(key, node),
        }
    }
}

fn check_seconds(entry: Entry<'_>, report: &mut Report) {
    match &entry.node.value {
        Value::Integer(_) | Value::Float(_) => {}
        Value::String(text) => {
            if let Err(error) = parse_duration(text) {
                report.error(&entry.node.span, format_args!("error parsing {}: {error}", entry.key));
            }
        }
        other => report
            .error(&entry.node.span, format_args!("expected {:?} to be a duration, got {}", entry.key, other.kind())),
    }
}

/// True for a value that asks for nothing: `false`, `0`, empty text, an empty map or list.
pub(super) fn is_off(node: &Node) -> bool {
    match &node.value {
        Value::Bool(flag) => !flag,
        Value::Integer(number) => *number == 0,
        Value::String(text) => text.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Map(map) => map.is_empty(),
        Value::Float(_) | Value::DateTime(_) => false,
    }
}
