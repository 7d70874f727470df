//! From a JSON tree to a typed request: what a missing, mistyped or unknown field means.
//!
//! A type that can be read implements [`Fields`] (an object) or [`Decode`] (a value with its own rules, such as an enum).
//! The first problem wins, as in the genuine server, and names the path to the field.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use super::super::metadata::Metadata;
use super::super::time::{DurationNs, Timestamp};
use super::parse::{Json, Parser, SyntaxError, Value};

/// An object: knows its own fields by name.
pub trait Fields: Default {
    /// What the genuine server calls the type; it appears in error texts.
    const NAME: &'static str;

    /// Takes one field; false when there is none of this name.
    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool;
}

/// A value with its own rules; `Err` is the text of the refusal.
pub trait Decode: Sized {
    fn decode(json: &Json<'_>) -> Result<Self, String>;
}

/// Reads a request. An empty text is a request with defaults; of several values in a row all are applied.
///
/// When `strict` is false unknown fields are ignored.
pub fn read<T: Fields>(text: &[u8], strict: bool) -> Result<T, String> {
    let mut target = T::default();
    let mut parser = Parser::new(text);
    let mut decoder = Decoder { strict, root: T::NAME, path: Vec::new(), problem: None };
    let mut joined = Vec::new();
    let end = loop {
        match parser.next_value() {
            Ok(None) => break Ok(()),
            // Several objects in a row say the same as one with the fields of all.
            Ok(Some(Json { value: Value::Object(mut fields), .. })) => joined.append(&mut fields),
            Ok(Some(json)) => {
                decoder.fields(&std::mem::take(&mut joined), &mut target);
                decoder.root(&json, &mut target);
                if decoder.problem.is_some() {
                    break Ok(());
                }
            }
            Err(problem) => break Err(problem),
        }
    };
    decoder.fields(&joined, &mut target);
    match (decoder.problem.take(), end) {
        (Some(problem), _) => Err(problem),
        (None, Ok(())) => Ok(target),
        (None, Err(SyntaxError::Truncated)) if strict => Err("unexpected EOF".to_owned()),
        (None, Err(SyntaxError::Truncated)) => Err("unexpected end of JSON input".to_owned()),
        (None, Err(SyntaxError::At { message, offset })) if strict => Err(format!("{message} at offset {offset}")),
        (None, Err(SyntaxError::At { message, .. })) => Err(message),
    }
}

/// A field of an object.
type Field<'a> = (Cow<'a, str>, Json<'a>);

/// No request has as many fields.
const FIELDS_FEW: usize = 64;

/// A field that is there again and again as an object becomes one with what all of them hold: taken one by one, each would
/// be sorted in among those before it.
fn join_repeated<'f, 'a>(fields: &'f [Field<'a>]) -> Cow<'f, [Field<'a>]> {
    if fields.len() <= FIELDS_FEW {
        return Cow::Borrowed(fields);
    }
    let mut joined: Vec<Field<'a>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (name, json) in fields {
        match &json.value {
            Value::Object(more) => {
                let place = *places.entry(name.to_lowercase()).or_insert(joined.len());
                if let Some((_, Json { value: Value::Object(all), .. })) = joined.get_mut(place) {
                    all.extend_from_slice(more);
                    continue;
                }
            }
            // What was there is taken away, what follows begins anew.
            Value::Null => _ = places.remove(&name.to_lowercase()),
            _ => {}
        }
        joined.push((name.clone(), json.clone()));
    }
    Cow::Owned(joined)
}

/// The state of one reading: where we are, and the first problem met.
pub struct Decoder {
    strict: bool,
    root: &'static str,
    path: Vec<Step>,
    problem: Option<String>,
}

enum Step {
    Name(String),
    Element(usize),
}

impl Decoder {
    fn root<T: Fields>(&mut self, json: &Json<'_>, target: &mut T) {
        match &json.value {
            Value::Object(fields) => self.fields(fields, target),
            Value::Null => {}
            _ => self.fail(format!("json: cannot unmarshal {} into Go value of type server.{}", json.kind(), T::NAME)),
        }
    }

    fn fields<T: Fields>(&mut self, fields: &[Field<'_>], target: &mut T) {
        for (name, json) in join_repeated(fields).iter() {
            let lower;
            self.path.push(Step::Name(name.to_string()));
            let known = target.field(name, json, self) || {
                // Names are matched without regard to case, as Go does.
                lower = name.to_lowercase();
                lower != **name && target.field(&lower, json, self)
            };
            self.path.pop();
            if !known && self.strict {
                self.fail(format!("json: unknown field {}", super::quote(name)));
            }
        }
    }

    /// Always true, so that a match arm can end with it.
    pub fn text(&mut self, json: &Json<'_>, target: &mut String) -> bool {
        match &json.value {
            Value::String(text) => target.clone_from(&text.to_string()),
            Value::Null => {}
            _ => self.mismatch(json, "string"),
        }
        true
    }

    pub fn boolean(&mut self, json: &Json<'_>, target: &mut bool) -> bool {
        match &json.value {
            Value::Bool(value) => *target = *value,
            Value::Null => {}
            _ => self.mismatch(json, "bool"),
        }
        true
    }

    /// A Go `int` or `int64`.
    pub fn int(&mut self, json: &Json<'_>, target: &mut i64, go_type: &str) -> bool {
        if let Some(value) = self.number(json, go_type) {
            *target = value;
        }
        true
    }

    pub fn int32(&mut self, json: &Json<'_>, target: &mut i32) -> bool {
        if let Some(value) = self.number(json, "int32") {
            *target = value;
        }
        true
    }

    pub fn unsigned(&mut self, json: &Json<'_>, target: &mut u64) -> bool {
        if let Some(value) = self.number(json, "uint64") {
            *target = value;
        }
        true
    }

    pub fn duration(&mut self, json: &Json<'_>, target: &mut DurationNs) -> bool {
        self.int(json, target, "time.Duration")
    }

    pub fn time(&mut self, json: &Json<'_>, target: &mut Option<Timestamp>) -> bool {
        match &json.value {
            Value::String(text) => match Timestamp::parse(text) {
                Some(time) => *target = Some(time),
                None => self.fail(time_problem(text)),
            },
            Value::Null => *target = None,
            _ => self.mismatch(json, "time.Time"),
        }
        true
    }

    /// A time that is never absent: `null` leaves it as it is.
    pub fn instant(&mut self, json: &Json<'_>, target: &mut Timestamp) -> bool {
        let mut time = None;
        self.time(json, &mut time);
        *target = time.unwrap_or(*target);
        true
    }

    pub fn texts(&mut self, json: &Json<'_>, target: &mut Vec<String>) -> bool {
        self.array(json, "[]string", target, |decoder, element, text| decoder.text(element, text))
    }

    pub fn durations(&mut self, json: &Json<'_>, target: &mut Vec<DurationNs>) -> bool {
        self.array(json, "[]time.Duration", target, |decoder, element, value| decoder.duration(element, value))
    }

    /// A list of objects.
    pub fn objects<T: Fields>(&mut self, json: &Json<'_>, target: &mut Vec<T>, go_type: &str) -> bool {
        self.array(json, go_type, target, |decoder, element, value| decoder.object(element, value))
    }

    pub fn object<T: Fields>(&mut self, json: &Json<'_>, target: &mut T) -> bool {
        match &json.value {
            Value::Object(fields) => self.fields(fields, target),
            Value::Null => {}
            _ => self.mismatch(json, &format!("server.{}", T::NAME)),
        }
        true
    }

    /// An object that may be absent; `null` takes it away.
    pub fn optional<T: Fields>(&mut self, json: &Json<'_>, target: &mut Option<T>) -> bool {
        if let Value::Null = json.value {
            *target = None;
            return true;
        }
        self.object(json, target.get_or_insert_default())
    }

    pub fn map(&mut self, json: &Json<'_>, target: &mut Metadata) -> bool {
        match &json.value {
            Value::Object(fields) => {
                // Sorted here: one by one they would have to move each other.
                let mut sorted = BTreeMap::new();
                for (name, element) in fields {
                    let mut text = String::new();
                    self.path.push(Step::Name(name.to_string()));
                    self.text(element, &mut text);
                    self.path.pop();
                    sorted.insert(name.to_string(), text);
                }
                target.extend(sorted);
            }
            Value::Null => target.clear(),
            _ => self.mismatch(json, "map[string]string"),
        }
        true
    }

    /// A value with its own rules; these see `null` too.
    pub fn custom<T: Decode>(&mut self, json: &Json<'_>, target: &mut T) -> bool {
        match T::decode(json) {
            Ok(value) => *target = value,
            Err(problem) => self.fail(problem),
        }
        true
    }

    fn array<T: Default>(
        &mut self,
        json: &Json<'_>,
        go_type: &str,
        target: &mut Vec<T>,
        read: fn(&mut Self, &Json<'_>, &mut T) -> bool,
    ) -> bool {
        match &json.value {
            Value::Array(elements) => {
                target.clear();
                for (position, element) in elements.iter().enumerate() {
                    let mut value = T::default();
                    self.path.push(Step::Element(position));
                    read(self, element, &mut value);
                    self.path.pop();
                    target.push(value);
                }
            }
            Value::Null => target.clear(),
            _ => self.mismatch(json, go_type),
        }
        true
    }

    fn number<T: std::str::FromStr>(&mut self, json: &Json<'_>, go_type: &str) -> Option<T> {
        match &json.value {
            Value::Number(text) => {
                let value = text.parse().ok();
                if value.is_none() {
                    self.mismatch_of(&format!("number {text}"), go_type);
                }
                value
            }
            Value::Null => None,
            _ => {
                self.mismatch(json, go_type);
                None
            }
        }
    }

    fn mismatch(&mut self, json: &Json<'_>, go_type: &str) {
        self.mismatch_of(json.kind(), go_type);
    }

    fn mismatch_of(&mut self, found: &str, go_type: &str) {
        if self.problem.is_some() {
            return;
        }
        let place = if let Some(Step::Element(_)) = self.path.last() { "" } else { "Go struct field " };
        let mut problem = format!("json: cannot unmarshal {found} into {place}{}", self.root);
        for step in &self.path {
            // Writing to a String cannot fail.
            let _ = match step {
                Step::Name(name) => write!(problem, ".{name}"),
                Step::Element(position) => write!(problem, ".{position}"),
            };
        }
        let _ = write!(problem, " of type {go_type}");
        self.problem = Some(problem);
    }

    fn fail(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }
}

/// What Go says of a text that is not RFC 3339; exact when nothing of it is.
fn time_problem(text: &str) -> String {
    let quoted = super::quote(text);
    format!("parsing time {quoted} as \"2006-01-02T15:04:05Z07:00\": cannot parse {quoted} as \"2006\"")
}
