//! Where the machine reads stored messages: the journal, or the log of a memory stream.

/// Reads messages by sequence. It knows nothing of removals: the machine asks only for what it holds to be stored.
pub trait MessageSource {
    type Message: MessageView;

    fn read(&self, sequence: u64) -> Result<Self::Message, Unreadable>;

    /// Looks at a message. A source that has it at hand needs not share it.
    fn inspect<R>(&self, sequence: u64, look: impl FnOnce(MessageRef<'_>) -> R) -> Result<R, Unreadable> {
        self.read(sequence).map(|message| look(MessageRef::of(&message)))
    }

    /// Messages are going to be looked at in the order of the stream, most of a part of it: a source may read on then, instead
    /// of looking each of them up.
    fn in_order<R>(&self, work: impl FnOnce() -> R) -> R {
        work()
    }

    /// The subject of a message that can not be read, where that is known apart from the message. Asked for one that
    /// somebody is going to pass over if it is not.
    fn subject_of_unreadable(&self, _sequence: u64) -> Option<Vec<u8>> {
        None
    }

    /// The lowest sequence at or above `from` of a message on exactly this subject, found without reading messages one by
    /// one. It may be one that is gone, not applied yet, or not readable.
    ///
    /// # Errors
    /// When it is not known.
    fn next_of_subject(&self, subject: &[u8], from: u64) -> Result<Option<u64>, Unreadable>;

    /// The highest one at or below `to`, likewise.
    ///
    /// # Errors
    /// When it is not known.
    fn previous_of_subject(&self, subject: &[u8], to: u64) -> Result<Option<u64>, Unreadable>;
}

/// A message in its place.
#[derive(Clone, Copy, Debug)]
pub struct MessageRef<'a> {
    pub subject: &'a [u8],
    /// The whole header block; empty when there is none.
    pub headers: &'a [u8],
    pub payload: &'a [u8],
    /// Log time, nanoseconds since the epoch.
    pub time: i64,
}

impl<'a> MessageRef<'a> {
    pub fn of(message: &'a impl MessageView) -> Self {
        Self {
            subject: message.subject(),
            headers: message.headers(),
            payload: message.payload(),
            time: message.time(),
        }
    }
}

impl MessageView for MessageRef<'_> {
    fn subject(&self) -> &[u8] {
        self.subject
    }

    fn headers(&self) -> &[u8] {
        self.headers
    }

    fn payload(&self) -> &[u8] {
        self.payload
    }

    fn time(&self) -> i64 {
        self.time
    }
}

/// A stored message. Views borrow; nothing is copied.
pub trait MessageView {
    fn subject(&self) -> &[u8];
    /// The whole header block; empty when there is none.
    fn headers(&self) -> &[u8];
    fn payload(&self) -> &[u8];
    /// Log time, nanoseconds since the epoch.
    fn time(&self) -> i64;
}

/// Why a message can not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not there, although it should be.
    #[error("the message is missing")]
    Missing,
    /// Its bytes do not have their checksum.
    #[error("the message is damaged")]
    Damaged,
    /// The disk refuses them for now.
    #[error("the disk refuses the message")]
    Refused,
}

impl<S: MessageSource> MessageSource for &S {
    type Message = S::Message;

    fn read(&self, sequence: u64) -> Result<Self::Message, Unreadable> {
        S::read(self, sequence)
    }

    fn inspect<R>(&self, sequence: u64, look: impl FnOnce(MessageRef<'_>) -> R) -> Result<R, Unreadable> {
        S::inspect(self, sequence, look)
    }

    fn in_order<R>(&self, work: impl FnOnce() -> R) -> R {
        S::in_order(self, work)
    }

    fn subject_of_unreadable(&self, sequence: u64) -> Option<Vec<u8>> {
        S::subject_of_unreadable(self, sequence)
    }

    fn next_of_subject(&self, subject: &[u8], from: u64) -> Result<Option<u64>, Unreadable> {
        S::next_of_subject(self, subject, from)
    }

    fn previous_of_subject(&self, subject: &[u8], to: u64) -> Result<Option<u64>, Unreadable> {
        S::previous_of_subject(self, subject, to)
    }
}
