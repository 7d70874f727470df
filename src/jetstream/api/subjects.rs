//! The subjects of the API: which request is meant, and for which stream or consumer (6.1).

/// What all subjects of the API begin with.
pub const PREFIX: &str = "$JS.API.";

/// A request, by its subject. Names are as they stand there and may be of nothing that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiSubject<'a> {
    Info,
    StreamCreate(&'a str),
    StreamUpdate(&'a str),
    StreamNames,
    StreamList,
    StreamInfo(&'a str),
    StreamDelete(&'a str),
    StreamPurge(&'a str),
    StreamSnapshot(&'a str),
    StreamRestore(&'a str),
    MessageGet(&'a str),
    MessageDelete(&'a str),
    DirectGet(&'a str),
    /// The last message of a subject, which may hold any number of tokens.
    DirectGetLast {
        stream: &'a str,
        subject: &'a str,
    },
    /// `CONSUMER.CREATE.<stream>`.
    ConsumerCreate(&'a str),
    /// `CONSUMER.CREATE.<stream>.<name>[.<filter>]`.
    ConsumerCreateNamed {
        stream: &'a str,
        name: &'a str,
        filter: &'a str,
    },
    ConsumerCreateDurable {
        stream: &'a str,
        name: &'a str,
    },
    ConsumerNames(&'a str),
    ConsumerList(&'a str),
    ConsumerInfo {
        stream: &'a str,
        consumer: &'a str,
    },
    ConsumerDelete {
        stream: &'a str,
        consumer: &'a str,
    },
    ConsumerPause {
        stream: &'a str,
        consumer: &'a str,
    },
    ConsumerReset {
        stream: &'a str,
        consumer: &'a str,
    },
    ConsumerUnpin {
        stream: &'a str,
        consumer: &'a str,
    },
    /// A pull, which is not answered in JSON.
    ConsumerNext {
        stream: &'a str,
        consumer: &'a str,
    },
    /// The requests that need a cluster.
    StreamStepdown(&'a str),
    ConsumerStepdown {
        stream: &'a str,
        consumer: &'a str,
    },
    StreamPeerRemove(&'a str),
    StreamPeerEvacuate(&'a str),
    StreamCancelMove(&'a str),
}

impl<'a> ApiSubject<'a> {
    /// `None` for a subject that the genuine server answers with silence.
    pub fn parse(subject: &'a str) -> Option<Self> {
        let rest = subject.strip_prefix(PREFIX)?;
        let (kind, rest) = rest.split_once('.').unwrap_or((rest, ""));
        match kind {
            "INFO" => rest.is_empty().then_some(Self::Info),
            "STREAM" => Self::stream(rest),
            "CONSUMER" => Self::consumer(rest),
            "DIRECT" => {
                let target = rest.strip_prefix("GET.")?;
                match target.split_once('.') {
                    None => (!target.is_empty()).then_some(Self::DirectGet(target)),
                    Some((stream, subject)) => Some(Self::DirectGetLast { stream, subject }),
                }
            }
            _ => None,
        }
    }

    fn stream(rest: &'a str) -> Option<Self> {
        match rest {
            "NAMES" => return Some(Self::StreamNames),
            "LIST" => return Some(Self::StreamList),
            _ => {}
        }
        let (verb, stream) = rest.rsplit_once('.')?;
        if stream.is_empty() {
            return None;
        }
        Some(match verb {
            "CREATE" => Self::StreamCreate(stream),
            "UPDATE" => Self::StreamUpdate(stream),
            "INFO" => Self::StreamInfo(stream),
            "DELETE" => Self::StreamDelete(stream),
            "PURGE" => Self::StreamPurge(stream),
            "SNAPSHOT" => Self::StreamSnapshot(stream),
            "RESTORE" => Self::StreamRestore(stream),
            "MSG.GET" => Self::MessageGet(stream),
            "MSG.DELETE" => Self::MessageDelete(stream),
            "LEADER.STEPDOWN" => Self::StreamStepdown(stream),
            "PEER.REMOVE" => Self::StreamPeerRemove(stream),
            "PEER.EVACUATE" => Self::StreamPeerEvacuate(stream),
            "CANCEL_MOVE" => Self::StreamCancelMove(stream),
            _ => return None,
        })
    }

    fn consumer(rest: &'a str) -> Option<Self> {
        if let Some(target) = rest.strip_prefix("CREATE.") {
            return Some(match target.split_once('.') {
                None => Self::ConsumerCreate(target),
                Some((stream, rest)) => {
                    let (name, filter) = rest.split_once('.').unwrap_or((rest, ""));
                    Self::ConsumerCreateNamed { stream, name, filter }
                }
            });
        }
        let target = |verb: &str| rest.strip_prefix(verb).filter(|target| !target.is_empty());
        let one = |verb: &str| target(verb).filter(|stream| !stream.contains('.'));
        let two = |verb: &str| {
            let (stream, consumer) = target(verb)?.split_once('.')?;
            (!stream.is_empty() && !consumer.is_empty() && !consumer.contains('.')).then_some((stream, consumer))
        };
        if let Some(stream) = one("NAMES.") {
            return Some(Self::ConsumerNames(stream));
        }
        if let Some(stream) = one("LIST.") {
            return Some(Self::ConsumerList(stream));
        }
        if let Some((stream, name)) = two("DURABLE.CREATE.") {
            return Some(Self::ConsumerCreateDurable { stream, name });
        }
        if let Some((stream, consumer)) = two("INFO.") {
            return Some(Self::ConsumerInfo { stream, consumer });
        }
        if let Some((stream, consumer)) = two("DELETE.") {
            return Some(Self::ConsumerDelete { stream, consumer });
        }
        if let Some((stream, consumer)) = two("PAUSE.") {
            return Some(Self::ConsumerPause { stream, consumer });
        }
        if let Some((stream, consumer)) = two("RESET.") {
            return Some(Self::ConsumerReset { stream, consumer });
        }
        if let Some((stream, consumer)) = two("UNPIN.") {
            return Some(Self::ConsumerUnpin { stream, consumer });
        }
        if let Some((stream, consumer)) = two("MSG.NEXT.") {
            return Some(Self::ConsumerNext { stream, consumer });
        }
        two("LEADER.STEPDOWN.").map(|(stream, consumer)| Self::ConsumerStepdown { stream, consumer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_name_their_request() {
        for (subject, expected) in [
            ("INFO", Some(ApiSubject::Info)),
            ("INFO.x", None),
            ("STREAM.CREATE.A", Some(ApiSubject::StreamCreate("A"))),
            ("STREAM.CREATE.A.B", None),
            ("STREAM.CREATE", None),
            ("STREAM.MSG.GET.A", Some(ApiSubject::MessageGet("A"))),
            ("STREAM.LEADER.STEPDOWN.A", Some(ApiSubject::StreamStepdown("A"))),
            ("STREAM.NOPE.A", None),
            ("STREAM.NAMES", Some(ApiSubject::StreamNames)),
            ("DIRECT.GET.KV_b", Some(ApiSubject::DirectGet("KV_b"))),
            ("DIRECT.GET.KV_b.$KV.b.k.x", Some(ApiSubject::DirectGetLast { stream: "KV_b", subject: "$KV.b.k.x" })),
            ("CONSUMER.CREATE.A", Some(ApiSubject::ConsumerCreate("A"))),
            (
                "CONSUMER.CREATE.A.c.x.*.>",
                Some(ApiSubject::ConsumerCreateNamed { stream: "A", name: "c", filter: "x.*.>" }),
            ),
            ("CONSUMER.DURABLE.CREATE.A.c", Some(ApiSubject::ConsumerCreateDurable { stream: "A", name: "c" })),
            ("CONSUMER.DURABLE.CREATE.A", None),
            ("CONSUMER.MSG.NEXT.A.c", Some(ApiSubject::ConsumerNext { stream: "A", consumer: "c" })),
            ("CONSUMER.INFO.A.c.d", None),
            ("META.LEADER.STEPDOWN", None),
        ] {
            assert_eq!(ApiSubject::parse(&format!("{PREFIX}{subject}")), expected, "{subject}");
        }
        assert_eq!(ApiSubject::parse("foo"), None);
    }
}
