//! Reads what we need of a client certificate, which the TLS library has verified already: its names and the hash
//! of its public key. Anything unexpected yields less, never an error that could let somebody in.

use crate::auth::{CertificateNames, DistinguishedName};
use ring::digest;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// Context tags of a general name.
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;

const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const DOMAIN_COMPONENT: &[u8] = &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19];

/// The parts of a certificate, still encoded.
struct Parts<'a> {
    subject: &'a [u8],
    public_key_info: &'a [u8],
    extensions: Option<&'a [u8]>,
}

/// One encoded value: its tag, its content, and all of it.
struct Value<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

/// Lower-case hex SHA-256 of the certificate's public key info (S-63).
pub fn public_key_hash(certificate: &[u8]) -> Option<String> {
    let parts = parts(certificate)?;
    let hash = digest::digest(&digest::SHA256, parts.public_key_info);
    Some(hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The names that the certificate holds.
pub fn names(certificate: &[u8]) -> CertificateNames {
    let Some(parts) = parts(certificate) else {
        return CertificateNames::default();
    };
    let mut names = CertificateNames { subject: subject(parts.subject), ..CertificateNames::default() };
    for name in parts.extensions.and_then(alternative_names).into_iter().flat_map(values) {
        let Ok(text) = std::str::from_utf8(name.content) else {
            continue;
        };
        match name.tag {
            EMAIL => names.emails.push(text.into()),
            DNS => names.dns.push(text.into()),
            URI => names.uris.push(text.into()),
            _ => {}
        }
    }
    names
}

fn parts(certificate: &[u8]) -> Option<Parts<'_>> {
    let certificate = expect(read(certificate)?, SEQUENCE)?;
    let to_be_signed = expect(read(certificate.content)?, SEQUENCE)?;
    let mut fields = values(to_be_signed.content).peekable();
    fields.next_if(|field| field.tag == VERSION);
    // Serial number, signature algorithm, issuer, validity.
    let subject = fields.nth(4)?;
    let public_key_info = fields.next()?;
    Some(Parts {
        subject: expect(subject, SEQUENCE)?.content,
        public_key_info: expect(public_key_info, SEQUENCE)?.whole,
        extensions: fields.find(|field| field.tag == EXTENSIONS).map(|field| field.content),
    })
}

/// The content of the extension with alternative names.
fn alternative_names(extensions: &[u8]) -> Option<&[u8]> {
    let list = expect(read(extensions)?, SEQUENCE)?;
    let found = values(list.content).find_map(|extension| {
        let mut fields = values(extension.content);
        let id = expect(fields.next()?, OBJECT_ID)?;
        let value = fields.find(|field| field.tag != BOOLEAN)?;
        (id.content == SUBJECT_ALTERNATIVE_NAME).then_some(expect(value, OCTET_STRING)?.content)
    })?;
    Some(expect(read(found)?, SEQUENCE)?.content)
}

/// The subject, most specific component first; none when an attribute has no name.
fn subject(encoded: &[u8]) -> Option<DistinguishedName> {
    let mut components = Vec::new();
    for component in values(encoded) {
        let mut attributes = Vec::new();
        for attribute in values(expect(component, SET)?.content) {
            let mut fields = values(expect(attribute, SEQUENCE)?.content);
            let kind = attribute_name(expect(fields.next()?, OBJECT_ID)?.content)?;
            let value = std::str::from_utf8(fields.next()?.content).ok()?;
            attributes.push((kind.to_string(), value.to_string()));
        }
        components.push(attributes);
    }
    components.reverse();
    if components.is_empty() { None } else { Some(DistinguishedName::new(components)) }
}

fn attribute_name(id: &[u8]) -> Option<&'static str> {
    if id == DOMAIN_COMPONENT {
        return Some("DC");
    }
    Some(match id.strip_prefix(&[0x55, 0x04])? {
        [3] => "CN",
        [5] => "SERIALNUMBER",
        [6] => "C",
        [7] => "L",
        [8] => "ST",
        [9] => "STREET",
        [10] => "O",
        [11] => "OU",
        [17] => "POSTALCODE",
        _ => return None,
    })
}

fn expect(value: Value<'_>, tag: u8) -> Option<Value<'_>> {
    (value.tag == tag).then_some(value)
}

/// The values that follow each other in `bytes`, up to the first that is broken.
fn values(bytes: &[u8]) -> impl Iterator<Item = Value<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let value = read(rest)?;
        rest = &rest[value.whole.len()..];
        Some(value)
    })
}

/// The first value; lengths are definite and have at most four bytes.
fn read(bytes: &[u8]) -> Option<Value<'_>> {
    let (&tag, after) = bytes.split_first()?;
    let (&first, after) = after.split_first()?;
    let (len, header) = match first {
        0..=0x7f => (usize::from(first), 2),
        0x81..=0x84 => {
            let count = usize::from(first & 0x7f);
            let digits = after.get(..count)?;
            (digits.iter().fold(0usize, |len, digit| len << 8 | usize::from(*digit)), 2 + count)
        }
        _ => return None,
    };
    let whole = bytes.get(..header.checked_add(len)?)?;
    Some(Value { tag, content: &whole[header..], whole })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData, SanType};

    fn certificate() -> (Vec<u8>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["client.example.com".to_string()]).unwrap();
        params.subject_alt_names.push(SanType::Rfc822Name("a@example.com".try_into().unwrap()));
        params.subject_alt_names.push(SanType::URI("spiffe://a/b".try_into().unwrap()));
        params.distinguished_name.push(DnType::OrganizationName, "Org, Inc");
        params.distinguished_name.push(DnType::CommonName, "client");
        (params.self_signed(&key).unwrap().der().to_vec(), key)
    }

    #[test]
    fn names_and_key_are_found() {
        let (certificate, key) = certificate();
        let names = names(&certificate);
        assert_eq!(names.emails, ["a@example.com"]);
        assert_eq!(names.dns, ["client.example.com"]);
        assert_eq!(names.uris, ["spiffe://a/b"]);
        let expected = DistinguishedName::parse("CN=client,O=Org\\, Inc").unwrap();
        assert!(names.subject.unwrap().matches_in_any_order(&expected));
        let expected = digest::digest(&digest::SHA256, &key.subject_public_key_info());
        let expected: String = expected.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(public_key_hash(&certificate), Some(expected));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_damaged_certificate_does_no_harm(at in 0usize..400, byte in any::<u8>(), len in 0usize..600) {
            let (mut certificate, _) = certificate();
            let at = at % certificate.len();
            certificate[at] = byte;
            certificate.truncate(len);
            names(&certificate);
            public_key_hash(&certificate);
        }
    }
}
