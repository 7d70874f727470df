//! The options of a request, read as the genuine server reads them: a value it can not parse is a 400 with its text.

use hyper::Uri;

/// The text of a 400.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRequest(pub String);

/// `name=value` pairs, percent-decoded. Of several values of a name the first counts; names we don't know are ignored.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn of(uri: &Uri) -> Query {
        Query(form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// Empty when it is not given.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub fn flag(&self, name: &str) -> Result<bool, BadRequest> {
        match self.text(name) {
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            other => Err(BadRequest(format!(
                "Error decoding boolean for '{name}': strconv.ParseBool: parsing {other:?}: invalid syntax"
            ))),
        }
    }

    /// A signed number; 0 when it is not given.
    pub fn number(&self, name: &str) -> Result<i64, BadRequest> {
        match self.text(name) {
            "" => Ok(0),
            text => text.parse().map_err(|error| unreadable("int", name, "Atoi", text, &error)),
        }
    }

    /// A number from 0; 0 when it is not given.
    pub fn unsigned(&self, name: &str) -> Result<u64, BadRequest> {
        match self.text(name) {
            "" => Ok(0),
            // Rust takes a sign where Go does not.
            text if text.starts_with('+') => {
                Err(BadRequest(unreadable_text("uint64", name, "ParseUint", text, "invalid syntax")))
            }
            text => text.parse().map_err(|error| unreadable("uint64", name, "ParseUint", text, &error)),
        }
    }

    /// Where a page begins; never negative.
    pub fn offset(&self) -> Result<usize, BadRequest> {
        Ok(usize::try_from(self.number("offset")?).unwrap_or(0))
    }

    /// How much a page holds; the default when it is not given or not positive.
    pub fn limit(&self, default: usize) -> Result<usize, BadRequest> {
        Ok(usize::try_from(self.number("limit")?).ok().filter(|limit| *limit > 0).unwrap_or(default))
    }
}

fn unreadable(kind: &str, name: &str, function: &str, text: &str, error: &std::num::ParseIntError) -> BadRequest {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    let reason = match error.kind() {
        PosOverflow | NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    BadRequest(unreadable_text(kind, name, function, text, reason))
}

fn unreadable_text(kind: &str, name: &str, function: &str, text: &str, reason: &str) -> String {
    format!("Error decoding {kind} for '{name}': strconv.{function}: parsing {text:?}: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::of(&format!("/connz?{text}").parse().unwrap())
    }

    #[test]
    fn values_are_decoded_and_absent_ones_have_defaults() {
        let read = query("acc=%24G&subs=T&offset=-3&limit=0&cid=7&acc=B");
        assert_eq!((read.text("acc"), read.text("user")), ("$G", ""));
        assert_eq!((read.flag("subs"), read.flag("auth")), (Ok(true), Ok(false)));
        assert_eq!((read.offset(), read.limit(1024), read.unsigned("cid")), (Ok(0), Ok(1024), Ok(7)));
    }

    #[test]
    fn unreadable_values_are_named_as_go_names_them() {
        let text = |result: Result<i64, BadRequest>| result.unwrap_err().0;
        assert_eq!(
            query("subs=zz").flag("subs").unwrap_err().0,
            "Error decoding boolean for 'subs': strconv.ParseBool: parsing \"zz\": invalid syntax"
        );
        assert_eq!(
            text(query("limit=a").number("limit")),
            "Error decoding int for 'limit': strconv.Atoi: parsing \"a\": invalid syntax"
        );
        assert_eq!(
            query("cid=-1").unsigned("cid").unwrap_err().0,
            "Error decoding uint64 for 'cid': strconv.ParseUint: parsing \"-1\": invalid syntax"
        );
        assert!(text(query("limit=99999999999999999999").number("limit")).ends_with("value out of range"));
    }
}
