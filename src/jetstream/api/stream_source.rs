//! Where a mirror or a sourcing stream takes its messages from (T-18, T-19, T-50).

use serde::Serialize;

use super::json::{Decoder, Fields, Json};
use super::skip::is_default;
use super::time::Timestamp;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamSource {
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub opt_start_seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_start_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filter_subject: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_transforms: Vec<SubjectTransform>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalStream>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<SourceConsumer>,
}

impl Fields for StreamSource {
    const NAME: &'static str = "StreamSource";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "name" => decoder.text(json, &mut self.name),
            "opt_start_seq" => decoder.unsigned(json, &mut self.opt_start_seq),
            "opt_start_time" => decoder.time(json, &mut self.opt_start_time),
            "filter_subject" => decoder.text(json, &mut self.filter_subject),
            "subject_transforms" => {
                decoder.objects(json, &mut self.subject_transforms, "[]server.SubjectTransformConfig")
            }
            "external" => decoder.optional(json, &mut self.external),
            "consumer" => decoder.optional(json, &mut self.consumer),
            _ => false,
        }
    }
}

/// A rewriting of subjects: `src` with wildcards to `dest` with references to them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SubjectTransform {
    pub src: String,
    pub dest: String,
}

impl Fields for SubjectTransform {
    const NAME: &'static str = "SubjectTransformConfig";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "src" => decoder.text(json, &mut self.src),
            "dest" => decoder.text(json, &mut self.dest),
            _ => false,
        }
    }
}

/// An origin in another account or domain: the prefixes that reach its API and its deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExternalStream {
    pub api: String,
    pub deliver: String,
}

impl Fields for ExternalStream {
    const NAME: &'static str = "ExternalStream";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "api" => decoder.text(json, &mut self.api),
            "deliver" => decoder.text(json, &mut self.deliver),
            _ => false,
        }
    }
}

/// A consumer that somebody made beforehand at the origin (ADR-60).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceConsumer {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deliver_subject: String,
}

impl Fields for SourceConsumer {
    const NAME: &'static str = "StreamConsumerSource";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "name" => decoder.text(json, &mut self.name),
            "deliver_subject" => decoder.text(json, &mut self.deliver_subject),
            _ => false,
        }
    }
}
