//! Decides what becomes of every file: serves, spare, quarantine. Also what the journal says about its own segments.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::super::patience::is_refusal;
use super::super::pool::Spare;
use super::Opening;
use crate::error::OpenError;
use crate::format::footer::FooterControl;
use crate::format::read_u32;
use crate::format::segment::FileName;
use crate::report::{Damage, DamageKind};
use crate::segment::Segment;

impl Opening {
    /// Decides what becomes of every file: serves, spare, quarantine.
    pub(crate) fn settle(&mut self) -> Result<(), OpenError> {
        let mut retired = self.retired()?;
        retired.append(&mut self.retired_before);
        let newest = self.newest_with_data();
        let listed = self.listed()?;
        for number in self.scanned.keys().copied().collect::<Vec<_>>() {
            let outcome = &self.scanned[&number];
            let is_empty = outcome.record_count == 0 && outcome.last_batch == 0 && outcome.bad.is_empty();
            if !is_empty {
                self.report.segments += 1;
                continue;
            }
            self.scanned.remove(&number);
            let is_listed = listed.contains(&number);
            let cut = self.segments.get(&number).is_some_and(|segment| segment.is_cut());
            // A file that does not say what it is may hold what nobody here can read.
            let is_known = !self.assumed.contains(&number);
            if newest.is_none_or(|newest| number > newest) && !is_listed && !cut && is_known {
                self.make_spare(number)?;
            } else if let Some(segment) = self.segments.remove(&number) {
                self.report.damages.push(Damage::at(number, 0, DamageKind::Segment));
                self.lost.push(number);
                self.quarantine(&segment.path)?;
            }
        }
        for number in listed {
            let known = self.segments.contains_key(&number) || self.lost.contains(&number);
            if !known && !retired.contains(&number) {
                self.report.damages.push(Damage::at(number, 0, DamageKind::Missing));
            }
        }
        if let Some(outcome) = newest.and_then(|newest| self.scanned.get(&newest)) {
            self.report.torn_tail = outcome.torn;
            self.report.clean = outcome.closed && !outcome.torn;
        } else {
            self.report.clean = newest.is_none() && self.report.damages.is_empty();
        }
        Ok(())
    }

    pub(super) fn newest_with_data(&self) -> Option<u32> {
        let has_data = |segment: &&Arc<Segment>| {
            !segment.header.is_compacted()
                && self
                    .scanned
                    .get(&segment.number)
                    .is_none_or(|outcome| outcome.last_batch > 0 || !outcome.bad.is_empty())
        };
        self.segments.values().rev().find(has_data).map(|segment| segment.number)
    }

    /// Segments that must have data: those of the latest list, and the one that came after the newest sealed one, which
    /// cannot be dead because nothing newer is left to say so.
    fn listed(&mut self) -> Result<Vec<u32>, OpenError> {
        let mut listed = match self.list {
            Some((_, segment, control)) => self.numbers_in(segment, &control)?,
            None => Vec::new(),
        };
        let newest = self.newest_with_data();
        let after = self.followers.iter().filter(|(number, _)| Some(*number) == newest).map(|(_, after)| *after);
        listed.extend(after);
        Ok(listed)
    }

    pub(super) fn retired(&mut self) -> Result<BTreeSet<u32>, OpenError> {
        let mut retired = BTreeSet::new();
        for (segment, control) in self.retired_notes.clone() {
            retired.extend(self.numbers_in(segment, &control)?);
        }
        Ok(retired)
    }

    /// The segment numbers in one of the journal's own records.
    fn numbers_in(&mut self, segment: u32, control: &FooterControl) -> Result<Vec<u32>, OpenError> {
        let payload = self.control_payload(segment, control)?.unwrap_or_default();
        Ok(payload.chunks_exact(4).map(|raw| read_u32(raw, 0)).collect())
    }

    /// What stands in a control record, unless that is damaged.
    pub(crate) fn control_payload(&mut self, number: u32, control: &FooterControl) -> Result<Option<Bytes>, OpenError> {
        let Some(segment) = self.segments.get(&number).cloned() else { return Ok(None) };
        let mut bytes = vec![0; control.length as usize];
        let file = segment.file(&*self.io).map_err(OpenError::file("opening", &segment.path))?;
        let read = self.patience.read_at(&*file, &mut bytes, u64::from(control.offset));
        if segment.is_sealed() {
            segment.close_file();
        }
        match read {
            Err(error) if is_refusal(&error) => {
                return self.refused(number, &segment.path, control.offset, error).map(|()| None);
            }
            Err(_) => return Ok(None),
            Ok(()) => {}
        }
        let record = crate::format::record::verify(&bytes, segment.seed).ok();
        Ok(record.map(|record| Bytes::copy_from_slice(record.payload())))
    }

    pub(super) fn make_spare(&mut self, number: u32) -> Result<(), OpenError> {
        let Some(segment) = self.segments.remove(&number) else { return Ok(()) };
        if self.read_only {
            return Ok(());
        }
        let name = FileName::Spare(number);
        let target = self.path.join(name.to_string());
        self.io.rename(&segment.path, &target).map_err(OpenError::io("recycling an empty segment"))?;
        self.pool.add(Spare { name, length: segment.length.load(Ordering::Acquire) });
        Ok(())
    }
}
