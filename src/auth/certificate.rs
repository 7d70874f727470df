//! The names in a verified client certificate that can be user names (S-05).

/// Names of one certificate; e-mail goes before DNS, URI and the subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    pub emails: Vec<String>,
    pub dns: Vec<String>,
    pub uris: Vec<String>,
    /// None when the subject holds something that has no name.
    pub subject: Option<DistinguishedName>,
}

impl CertificateNames {
    /// All but the subject, best first.
    pub fn alternative(&self) -> impl Iterator<Item = &String> {
        self.emails.iter().chain(&self.dns).chain(&self.uris)
    }

    /// Whether they are names of this user, however good others would be.
    pub fn name(&self, user: &str) -> bool {
        self.alternative().any(|name| name == user)
            || self.subject.as_ref().is_some_and(|subject| {
                DistinguishedName::parse(user).is_some_and(|user| user.matches_in_any_order(subject))
            })
    }
}

/// A distinguished name (RFC 4514) in comparable form: types in upper case, attributes of one component sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DistinguishedName {
    components: Vec<Vec<(String, String)>>,
}

impl DistinguishedName {
    /// From components, most specific first.
    pub fn new(components: Vec<Vec<(String, String)>>) -> DistinguishedName {
        let sort = |mut component: Vec<(String, String)>| {
            component.iter_mut().for_each(|(kind, _)| kind.make_ascii_uppercase());
            component.sort();
            component
        };
        DistinguishedName { components: components.into_iter().map(sort).collect() }
    }

    /// From text such as `CN=www.example.com,OU=a+UID=b,O=c`; none when it is not a name.
    pub fn parse(text: &str) -> Option<DistinguishedName> {
        let mut components = Vec::new();
        let mut component = Vec::new();
        let mut rest = text;
        while !rest.trim_start_matches(' ').is_empty() {
            let (kind, after) = rest.trim_start_matches(' ').split_once('=')?;
            if kind.trim().is_empty() || kind.contains(['\\', ',', '+']) || after.starts_with('#') {
                return None;
            }
            let (value, end, after) = parse_value(after)?;
            component.push((kind.trim().to_string(), value));
            if end != Some('+') {
                components.push(std::mem::take(&mut component));
            }
            rest = after;
        }
        if components.is_empty() || !component.is_empty() { None } else { Some(DistinguishedName::new(components)) }
    }

    /// The same components, in whatever order.
    pub fn matches_in_any_order(&self, other: &DistinguishedName) -> bool {
        let sorted = |name: &DistinguishedName| {
            let mut components = name.components.clone();
            components.sort();
            components
        };
        sorted(self) == sorted(other)
    }
}

/// A value up to its unescaped end, that end, and what follows it.
fn parse_value(text: &str) -> Option<(String, Option<char>, &str)> {
    let mut value = Vec::new();
    let mut significant = 0;
    let bytes = text.trim_start_matches(' ').as_bytes();
    let offset = text.len() - bytes.len();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => {
                let escaped = *bytes.get(at + 1)?;
                if b" \"#+,;<=>\\".contains(&escaped) {
                    value.push(escaped);
                    at += 2;
                } else {
                    let hex = std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok()?;
                    value.push(u8::from_str_radix(hex, 16).ok()?);
                    at += 3;
                }
                significant = value.len();
            }
            end @ (b',' | b'+') => {
                value.truncate(significant);
                return Some((String::from_utf8(value).ok()?, Some(char::from(end)), &text[offset + at + 1..]));
            }
            byte => {
                value.push(byte);
                if byte != b' ' {
                    significant = value.len();
                }
                at += 1;
            }
        }
    }
    value.truncate(significant);
    Some((String::from_utf8(value).ok()?, None, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DistinguishedName {
        DistinguishedName::parse(text).unwrap()
    }

    #[test]
    fn names_compare_without_regard_to_spacing_type_case_and_attribute_order() {
        assert_eq!(name("CN=a, OU = b+uid=c ,O=d\\, e"), name("cn=a,UID=c+ou=b,O=d\\2c e"));
        assert_ne!(name("CN=a,O=b"), name("O=b,CN=a"));
        assert!(name("CN=a,O=b,O=c").matches_in_any_order(&name("O=c,CN=a,O=b")));
        assert!(!name("CN=a,O=b,O=b").matches_in_any_order(&name("O=b,CN=a,O=c")));
        assert!(!name("CN=a+O=b").matches_in_any_order(&name("CN=a,O=b")));
        assert_ne!(name("CN=a"), name("CN=A"));
    }

    #[test]
    fn what_is_no_name_is_none() {
        for bad in ["", "alice", "CN=#04", "=a", "CN=a+", "CN=a\\", "CN=a\\zz", ",CN=a"] {
            assert_eq!(DistinguishedName::parse(bad), None, "{bad:?}");
        }
    }
}
