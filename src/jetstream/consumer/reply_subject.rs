//! The reply subject of a delivered message: what it was, packed into tokens, for the ack to bring back.
//!
//! HOT PATH: written for every delivery, read for every ack; no formatting machinery, no allocation.

const PREFIX: &[u8] = b"$JS.ACK.";
const TOKENS_V1: usize = 9;
const TOKENS_V2: usize = 11;

/// The numbers of a reply subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyNumbers {
    pub deliveries: u32,
    pub stream_sequence: u64,
    pub consumer_sequence: u64,
    /// When the message was stored.
    pub time: i64,
    /// How many messages the consumer still has after this one.
    pub pending: u64,
}

/// A parsed reply subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckToken<'a> {
    pub stream: &'a [u8],
    pub consumer: &'a [u8],
    pub numbers: ReplyNumbers,
}

/// `$JS.ACK.<stream>.<consumer>.`, the fixed part of the first form, which is what servers send by default.
pub fn prefix(stream: &str, consumer: &str) -> Vec<u8> {
    [PREFIX, stream.as_bytes(), b".", consumer.as_bytes(), b"."].concat()
}

/// `$JS.ACK.<domain or _>.<account hash>.<stream>.<consumer>.`, the fixed part of the second form.
pub fn prefix_v2(domain: &str, account_hash: &str, stream: &str, consumer: &str) -> Vec<u8> {
    let domain = if domain.is_empty() { "_" } else { domain };
    let parts = [domain.as_bytes(), account_hash.as_bytes(), stream.as_bytes(), consumer.as_bytes()];
    [PREFIX, &parts.join(&b"."[..]), b"."].concat()
}

impl ReplyNumbers {
    /// How many bytes [`ReplyText::write`] appends.
    pub fn text_len(&self) -> usize {
        let numbers = [u64::from(self.deliveries), self.stream_sequence, self.consumer_sequence, self.pending];
        let digits: usize = numbers.into_iter().map(digit_count).sum();
        digits + digit_count(self.time.unsigned_abs()) + usize::from(self.time < 0) + 4
    }
}

/// Writes the numbers of one delivery after another. From one to the next most of them change by one or not at all, and
/// then their text is kept.
#[derive(Default)]
pub struct ReplyText {
    deliveries: Digits,
    stream_sequence: Digits,
    consumer_sequence: Digits,
    /// The time without its last eight digits, a tenth of a second.
    time: Digits,
    pending: Digits,
}

impl ReplyText {
    /// Appends `<delivered>.<stream seq>.<consumer seq>.<time>.<pending>` to what begins with a prefix.
    pub fn write(&mut self, numbers: &ReplyNumbers, out: &mut Vec<u8>) {
        // In its place at once: what was just written in small pieces is slow to read again in large ones.
        let start = out.len();
        out.resize(start + TEXT_MAX, 0);
        let Some(text) = out[start..].first_chunk_mut() else { return };
        let mut at = self.deliveries.put(text, 0, u64::from(numbers.deliveries));
        at = dot(text, at);
        at = self.stream_sequence.put(text, at, numbers.stream_sequence);
        at = dot(text, at);
        at = self.consumer_sequence.put(text, at, numbers.consumer_sequence);
        at = dot(text, at);
        if numbers.time < 0 {
            text[at] = b'-';
            at += 1;
        }
        let time = numbers.time.unsigned_abs();
        if time < WORD {
            at = put(text, at, time);
        } else {
            at = self.time.put(text, at, time / WORD);
            at = put_word(text, at, time % WORD);
        }
        at = dot(text, at);
        at = self.pending.put(text, at, numbers.pending);
        out.truncate(start + at);
    }
}

/// A number and its text.
#[derive(Default)]
struct Digits {
    value: u64,
    /// What is behind the digits means nothing.
    text: [u8; DIGITS_MAX],
    /// 0 before the first number.
    len: usize,
}

impl Digits {
    /// Writes the text of a number at `at`; returns the end.
    #[inline]
    fn put(&mut self, text: &mut [u8; TEXT_MAX], at: usize, value: u64) -> usize {
        let step = value.wrapping_sub(self.value);
        self.value = value;
        let Some(last) = self.len.checked_sub(1) else { return self.put_anew(text, at) };
        let digit = self.text[last].wrapping_add(step as u8);
        let is_near = step == 0 || step == 1 || step == u64::MAX;
        if !is_near || !digit.is_ascii_digit() {
            return self.put_anew(text, at);
        }
        // A fixed length is quicker than the right one. The digit comes afterwards: the processor would have to wait for
        // it, if all of the text were read right after a change to a part of it.
        text[at..at + DIGITS_MAX].copy_from_slice(&self.text);
        text[at + last] = digit;
        self.text[last] = digit;
        at + self.len
    }

    #[inline(never)]
    fn put_anew(&mut self, text: &mut [u8; TEXT_MAX], at: usize) -> usize {
        let end = put(text, at, self.value);
        self.text.copy_from_slice(&text[at..at + DIGITS_MAX]);
        self.len = end - at;
        end
    }
}

/// Reads either form; `None` for anything else.
pub fn parse(subject: &[u8]) -> Option<AckToken<'_>> {
    let rest = subject.strip_prefix(PREFIX)?;
    // "$JS" and "ACK" are two tokens more.
    let token_count = memchr::memchr_iter(b'.', rest).count() + 3;
    let skipped = match token_count {
        TOKENS_V1 => 0,
        TOKENS_V2.. => 2,
        _ => return None,
    };
    let mut tokens = rest.split(|byte| *byte == b'.').skip(skipped);
    let (stream, consumer) = (tokens.next()?, tokens.next()?);
    let deliveries = number(tokens.next()?)?;
    let stream_sequence = number(tokens.next()?)?;
    let consumer_sequence = number(tokens.next()?)?;
    // What comes after is for the client; a tool may leave it empty.
    let time = tokens.next().and_then(number).and_then(|time| i64::try_from(time).ok()).unwrap_or(0);
    let pending = tokens.next().and_then(number).unwrap_or(0);
    let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
    let numbers = ReplyNumbers { deliveries, stream_sequence, consumer_sequence, time, pending };
    Some(AckToken { stream, consumer, numbers })
}

fn number(token: &[u8]) -> Option<u64> {
    if token.is_empty() {
        return None;
    }
    token.iter().try_fold(0u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { value.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// The digits of the longest number, and a whole word written past the end.
const DIGITS_MAX: usize = 24;

/// Room for five numbers of at most 20 digits with what follows each, a sign, and what is written past the end.
const TEXT_MAX: usize = 5 * 21 + 1 + DIGITS_MAX;

const WORD: u64 = 100_000_000;

fn dot(text: &mut [u8; TEXT_MAX], at: usize) -> usize {
    text[at] = b'.';
    at + 1
}

/// Writes a number at `at`; returns the end. Eight digits at a time, as the digits of a word are found in parallel.
fn put(text: &mut [u8; TEXT_MAX], at: usize, value: u64) -> usize {
    let (high, low) = (value / WORD, value % WORD);
    if high == 0 {
        return put_first(text, at, low);
    }
    let end = if high < WORD {
        put_first(text, at, high)
    } else {
        let end = put_first(text, at, high / WORD);
        put_word(text, end, high % WORD)
    };
    put_word(text, end, low)
}

/// Writes up to eight digits, at least one, without leading zeros.
fn put_first(text: &mut [u8; TEXT_MAX], at: usize, value: u64) -> usize {
    let digits = digits_of_word(value);
    let zeros = (digits.trailing_zeros() / 8).min(7);
    let ascii = (digits >> (zeros * 8)) | ZEROS;
    text[at..at + 8].copy_from_slice(&ascii.to_le_bytes());
    at + 8 - zeros as usize
}

/// Writes exactly eight digits.
fn put_word(text: &mut [u8; TEXT_MAX], at: usize, value: u64) -> usize {
    text[at..at + 8].copy_from_slice(&(digits_of_word(value) | ZEROS).to_le_bytes());
    at + 8
}

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// The eight digits of a number below 10^8, one a byte, the first in the lowest byte. Halves, then quarters, then
/// single digits are divided side by side: multiplying by 10486 / 2^20 divides four digits by 100, by 103 / 2^10 two
/// digits by 10.
fn digits_of_word(value: u64) -> u64 {
    let fours = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = ((fours - hundreds * 100) << 16) + hundreds;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    ((twos - tens * 10) << 8) + tens
}

fn digit_count(value: u64) -> usize {
    value.checked_ilog10().unwrap_or(0) as usize + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(prefix: Vec<u8>, numbers: &ReplyNumbers) -> Vec<u8> {
        let mut subject = prefix;
        ReplyText::default().write(numbers, &mut subject);
        subject
    }

    const NUMBERS: ReplyNumbers = ReplyNumbers {
        deliveries: 1,
        stream_sequence: 17,
        consumer_sequence: 4,
        time: 1_795_414_132_126_131_046,
        pending: 0,
    };

    #[test]
    fn both_forms_are_written_and_read() {
        let first = written(prefix("ORDERS", "worker"), &NUMBERS);
        assert_eq!(first, b"$JS.ACK.ORDERS.worker.1.17.4.1795414132126131046.0");
        let second = written(prefix_v2("", "ABCDEFGH", "ORDERS", "worker"), &NUMBERS);
        assert_eq!(second, b"$JS.ACK._.ABCDEFGH.ORDERS.worker.1.17.4.1795414132126131046.0");
        for subject in [first, second.clone(), [&second[..], b".token"].concat()] {
            let token = parse(&subject).expect("a reply subject");
            assert_eq!((token.stream, token.consumer, token.numbers), (&b"ORDERS"[..], &b"worker"[..], NUMBERS));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for subject in [
            "",
            "$JS.ACK",
            "$JS.ACK.S.C.1.2.3.4",
            "$JS.ACK.S.C.1.2.3.4.5.6",
            "$JS.ACK.S.C.1.x.3.4.5",
            "$JS.ACK.S.C.1..3.4.5",
            "$JS.ACK.S.C.1.99999999999999999999999.3.4.5",
            "$JX.ACK.S.C.1.2.3.4.5",
        ] {
            assert_eq!(parse(subject.as_bytes()), None, "{subject}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn numbers_are_written_as_formatting_would(
            deliveries: u32, stream_sequence: u64, consumer_sequence: u64, time in 0i64.., pending: u64,
        ) {
            let numbers = ReplyNumbers { deliveries, stream_sequence, consumer_sequence, time, pending };
            let text = format!("{deliveries}.{stream_sequence}.{consumer_sequence}.{time}.{pending}");
            prop_assert_eq!(written(Vec::new(), &numbers), text.as_bytes());
            prop_assert_eq!(numbers.text_len(), text.len());
            let subject = written(prefix("S", "C"), &numbers);
            prop_assert_eq!(parse(&subject).map(|token| token.numbers), Some(numbers));
        }

        #[test]
        fn a_run_of_numbers_is_written_as_each_alone(
            start in 0u64..2000, steps in prop::collection::vec((-1i64..=1, 0u64..3, 0i64..3_000_000_000), 1..200),
        ) {
            let mut text = ReplyText::default();
            let mut numbers = ReplyNumbers { stream_sequence: start, pending: start, ..NUMBERS };
            for (step, more, time) in steps {
                numbers.stream_sequence = numbers.stream_sequence.saturating_add_signed(step);
                numbers.consumer_sequence += more;
                numbers.time += time;
                numbers.pending = numbers.pending.saturating_sub(more);
                let mut run = Vec::new();
                text.write(&numbers, &mut run);
                prop_assert_eq!(run, written(Vec::new(), &numbers));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
            let _ = parse(&[PREFIX, &bytes].concat());
        }
    }
}
