//! Where the machine reads stored messages: the journal, or the log of a memory stream.

/// Reads messages by sequence. It knows nothing of removals: the machine asks only for what it holds to be stored.
pub trait MessageSource {
    type Message: MessageView;

    fn read(&self, sequence: u64) -> Result<Self::Message, Unreadable>;

    /// Looks at a message. A source that has it at hand needs not share it.
    fn inspect<R>(&self, sequence: u64, look: impl FnOnce(&Self::Message) -> R) -> Result<R, Unreadable> {
        self.read(sequence).map(|message| look(&message))
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
}

impl<S: MessageSource> MessageSource for &S {
    type Message = S::Message;

    fn read(&self, sequence: u64) -> Result<Self::Message, Unreadable> {
        S::read(self, sequence)
    }

    fn inspect<R>(&self, sequence: u64, look: impl FnOnce(&Self::Message) -> R) -> Result<R, Unreadable> {
        S::inspect(self, sequence, look)
    }
}
