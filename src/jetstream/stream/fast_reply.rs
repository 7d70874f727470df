//! The reply subject of a fast batch's message (P-12), which carries all that its publisher has to say:
//!
//! ```text
//! <prefix>.<id>.<flow>.<fail|ok>.<sequence>.<operation>.$FI
//! ```

/// What the reply subject of a fast batch ends in.
const SUFFIX: &[u8] = b".$FI";
/// What a publisher that names no number of messages gets acknowledgements after.
const FLOW_DEFAULT: u16 = 10;

/// What a message is to its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The first one.
    Start,
    Append,
    /// The last one.
    Commit,
    /// It ends the batch and is not of it.
    CommitMarker,
    /// It asks how far things are, and is not of the batch either.
    Ping,
}

/// A reply subject that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastReply<'a> {
    pub id: &'a [u8],
    /// Acknowledgements are wanted after so many messages, at the latest.
    pub flow: u16,
    /// Messages may be missing; otherwise the batch ends with the first that does.
    pub gap_ok: bool,
    /// The message's place in the batch, from 1.
    pub sequence: u64,
    pub operation: Operation,
}

/// Whether a message with this reply subject belongs to a fast batch.
#[inline]
pub fn is_of_fast_batch(reply: &[u8]) -> bool {
    reply.len() > SUFFIX.len() && reply.ends_with(SUFFIX)
}

impl<'a> FastReply<'a> {
    /// `None` for what has the suffix only.
    pub fn parse(reply: &'a [u8]) -> Option<Self> {
        let mut tokens = reply.strip_suffix(SUFFIX)?.rsplitn(6, |byte| *byte == b'.');
        let operation = match number(tokens.next()?)? {
            0 => Operation::Start,
            1 => Operation::Append,
            2 => Operation::Commit,
            3 => Operation::CommitMarker,
            4 => Operation::Ping,
            _ => return None,
        };
        // The last number of all is refused, so that the one after any can be counted.
        let sequence = number(tokens.next()?).filter(|sequence| (1..u64::MAX).contains(sequence))?;
        let is_in_place = match operation {
            Operation::Start => sequence == 1,
            Operation::Append | Operation::CommitMarker => sequence > 1,
            Operation::Commit | Operation::Ping => true,
        };
        let gap_ok = match tokens.next()? {
            b"ok" => true,
            b"fail" => false,
            _ => return None,
        };
        let flow = match number(tokens.next()?) {
            None | Some(0) => FLOW_DEFAULT,
            Some(flow) => u16::try_from(flow).unwrap_or(u16::MAX),
        };
        let id = tokens.next()?;
        // There is something in front of the id.
        tokens.next()?;
        is_in_place.then_some(Self { id, flow, gap_ok, sequence, operation })
    }
}

fn number(token: &[u8]) -> Option<u64> {
    let is_number = !token.is_empty() && token.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(token).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(reply: &str) -> Option<FastReply<'_>> {
        FastReply::parse(reply.as_bytes())
    }

    #[test]
    fn a_reply_subject_says_it_all() {
        let found = parse("_INBOX.x.b1.20.fail.7.1.$FI").unwrap();
        let expected = FastReply { id: b"b1", flow: 20, gap_ok: false, sequence: 7, operation: Operation::Append };
        assert_eq!(found, expected);
        let found = parse("p.b1.70000.ok.1.2.$FI").unwrap();
        assert_eq!((found.flow, found.gap_ok, found.operation), (u16::MAX, true, Operation::Commit));
        for flow in ["0", "x", "-3", ""] {
            assert_eq!(parse(&format!("p.b.{flow}.ok.1.0.$FI")).unwrap().flow, 10, "{flow}");
        }
        assert_eq!(parse("p.b.2.ok.9.4.$FI").unwrap().operation, Operation::Ping);
        assert_eq!(parse("p.b.2.ok.9.3.$FI").unwrap().operation, Operation::CommitMarker);
    }

    #[test]
    fn what_makes_no_sense_is_not_understood() {
        for reply in [
            "p.$FI",
            "b.2.fail.1.0.$FI",
            "p.b.2.maybe.1.0.$FI",
            "p.b.2.fail.x.0.$FI",
            "p.b.2.fail.0.1.$FI",
            "p.b.2.fail.18446744073709551615.1.$FI",
            "p.b.2.fail.1.5.$FI",
            "p.b.2.fail.1..$FI",
            "p.b.2.fail.2.0.$FI",
            "p.b.2.fail.1.1.$FI",
            "p.b.2.fail.1.3.$FI",
        ] {
            assert!(is_of_fast_batch(reply.as_bytes()));
            assert_eq!(parse(reply), None, "{reply}");
        }
        assert!(!is_of_fast_batch(b".$FI") && !is_of_fast_batch(b"p.b.2.fail.1.0.$FJ"));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_understood_says_what_stands_there(
            id in "[a-z0-9]{0,3}", flow in 1_u16.., ok: bool, sequence in 0_u64..5, operation in 0_u8..7, noise in "[.$a-z0-9]{0,9}",
        ) {
            let mode = if ok { "ok" } else { "fail" };
            let reply = format!("{noise}.{id}.{flow}.{mode}.{sequence}.{operation}.$FI");
            if let Some(found) = parse(&reply) {
                let stands_there = (id.as_bytes(), flow, ok, sequence);
                proptest::prop_assert_eq!((found.id, found.flow, found.gap_ok, found.sequence), stands_there);
            }
            parse(&format!("{noise}.$FI"));
        }
    }
}
