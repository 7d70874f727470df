//! What the scrubber remembers across restarts: the catalogue, open only while something is due.

use super::super::shared::Shared;
use crate::catalogue::{Catalogue, Closing, Opening, Row};

#[derive(Default)]
pub(super) enum Memory {
    #[default]
    Closed,
    Opening(Catalogue),
    Open(Catalogue),
    Closing(Closing),
    /// It could not be opened: every segment is as if it had never been checked.
    Missing,
}

/// What can be said about segments that were checked before the last start.
pub(super) enum Recall {
    /// Nothing yet.
    Pending,
    /// The segments know it since now.
    New,
    /// The segments know what there is to know.
    Known,
}

impl Memory {
    /// Brings back what is remembered. Never waits.
    pub(super) fn recall(&mut self, shared: &Shared) -> Recall {
        let Some(directory) = &shared.options.catalogue else { return Recall::Known };
        match self {
            Self::Open(_) | Self::Missing => Recall::Known,
            Self::Closing(closing) if !closing.is_done() => {
                if closing.is_stuck() {
                    *self = Self::Missing;
                }
                Recall::Pending
            }
            Self::Closed | Self::Closing(_) => {
                *self = match Catalogue::open(directory, shared.journal) {
                    Ok(catalogue) => Self::Opening(catalogue),
                    Err(error) => {
                        tracing::warn!(%error, "no thread for the catalogue");
                        Self::Missing
                    }
                };
                Recall::Pending
            }
            Self::Opening(catalogue) => match catalogue.poll() {
                Opening::Pending => Recall::Pending,
                Opening::Unavailable => {
                    *self = Self::Missing;
                    Recall::Known
                }
                Opening::Rows(rows) => {
                    tell(shared, catalogue, &rows);
                    if let Self::Opening(catalogue) = std::mem::take(self) {
                        *self = Self::Open(catalogue);
                    }
                    Recall::New
                }
            },
        }
    }

    /// What was found out about a segment.
    pub(super) fn note(&self, row: Row) {
        if let Self::Open(catalogue) = self
            && !catalogue.put(row)
        {
            tracing::debug!(segment = row.segment, "the catalogue did not take a row");
        }
    }

    /// Nothing is due any more: what it takes to keep it open is given back.
    pub(super) fn let_go(&mut self) {
        match std::mem::take(self) {
            Self::Opening(catalogue) | Self::Open(catalogue) => *self = Self::Closing(catalogue.let_go()),
            other => *self = other,
        }
    }

    /// The same before the process ends: waits a little for what is not written yet.
    pub(super) fn close(&mut self) {
        match std::mem::take(self) {
            Self::Opening(catalogue) | Self::Open(catalogue) => catalogue.let_go().wait(),
            Self::Closing(closing) => closing.wait(),
            Self::Closed | Self::Missing => {}
        }
    }
}

/// Tells the segments when they were last found sound, and has rows forgotten that are of no use.
fn tell(shared: &Shared, catalogue: &Catalogue, rows: &[Row]) {
    for row in rows {
        let segment = shared.segment(row.segment).filter(|segment| segment.is_sealed() && !segment.is_retired());
        match segment.zip(row.sound_at) {
            // What was damaged at this start is looked at again, whenever it was sound.
            Some((segment, at)) => {
                if !segment.was_checked() && !shared.has_damage_in(row.segment) {
                    segment.set_checked(at);
                }
            }
            None => {
                catalogue.put(Row { sound_at: None, ..*row });
            }
        }
    }
}
