//! Writes a damaged footer anew, from the records of its segment.
//!
//! While the journal runs, readers use the offsets that the footer had. So only the very bytes that were there before are
//! written in its place: then nothing changes for anybody, and a crash in between leaves it damaged as it was. The
//! directory holds the checksums of all sections, and the seal slot that of the directory: when the records give these,
//! they give everything.
//!
//! They do not always: not when a record was erased since, is damaged itself, or was replaced by a later entry before the
//! footer was first written. Then the next start scans the segment and writes another footer, as it does for any whose
//! directory is damaged; where only sections are, it is told by a checksum in the seal slot that is wrong on purpose.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{info, warn};

use super::super::patience::Whole;
use super::super::seal::{Footer, Image, footer, group_tables, image, seal_slot};
use super::super::shared::Shared;
use super::check::FooterFindings;
use crate::aligned::AlignedBuffer;
use crate::directory::Directory;
use crate::format::PAGE_BYTES;
use crate::format::segment::{SEAL_OFFSET, SealSlot};
use crate::io::OpenMode;
use crate::scan::{Found, scan};
use crate::segment::Segment;

/// Repairs what can be. A failure is no reason to stop: nobody depends on these bytes until the next start, which can do
/// without.
pub(super) fn repair_footer(shared: &Shared, segment: &Arc<Segment>, findings: &FooterFindings) {
    match try_repair(shared, segment, findings) {
        Ok(true) => info!(segment = segment.number, "a damaged footer was written anew"),
        Ok(false) => info!(segment = segment.number, "a damaged footer is written anew at the next start"),
        Err(error) => warn!(segment = segment.number, %error, "a damaged footer can not be written anew"),
    }
}

/// False when it is left to the next start.
fn try_repair(shared: &Shared, segment: &Arc<Segment>, findings: &FooterFindings) -> io::Result<bool> {
    let mut footer = scanned_footer(shared, segment)?;
    let image = image(shared, segment, &mut footer);
    let Some(slot) = findings.slot else {
        return restore_slot(shared, segment, &image);
    };
    if (image.directory_checksum, image.length) == (slot.directory_checksum, slot.footer_length as usize) {
        write(shared, segment, image.bytes(), slot.footer_offset)?;
        return Ok(true);
    }
    if findings.directory.is_some() {
        let condemned = SealSlot { directory_checksum: !slot.directory_checksum, ..slot };
        write_slot(shared, segment, &condemned)?;
    }
    Ok(false)
}

/// The seal slot is damaged: if the footer is as the records give it, another slot can vouch for it.
fn restore_slot(shared: &Shared, segment: &Segment, image: &Image) -> io::Result<bool> {
    let offset = segment.data_end().next_multiple_of(segment.header.block_bytes);
    let found = shared.read_range(segment, offset, image.length)?;
    let is_whole = found[..] == image.bytes()[..image.length];
    if is_whole {
        write_slot(shared, segment, &seal_slot(shared, segment, offset, image))?;
    }
    Ok(is_whole)
}

/// The footer that a start would write.
fn scanned_footer(shared: &Shared, segment: &Arc<Segment>) -> io::Result<Footer> {
    let file = segment.file(&*shared.io)?;
    let Whole { bytes, refusal, .. } = Whole::of(&*file, segment.length.load(Ordering::Acquire));
    if let Some(error) = refusal {
        // It may be as it should be.
        return Err(error);
    }
    let mut directory = Directory::default();
    let mut summary = directory.begin_batch();
    scan(segment.scan_input(&bytes), &mut |offset, found| match found {
        Found::Record(record) => directory.push_scanned(segment, &record, offset, &mut summary),
        Found::Damaged(header) => directory.push_damaged(segment, &header, offset),
    });
    let groups = directory.residents(segment.number).iter();
    let spans = groups.filter_map(|group| Some((*group, directory.group(*group)?.live.first()?)));
    let tables = spans.map(|(group, span)| group_tables(group, span)).collect();
    Ok(footer(segment.number, tables, directory.controls(segment.number).to_vec()))
}

fn write_slot(shared: &Shared, segment: &Segment, slot: &SealSlot) -> io::Result<()> {
    let mut page = AlignedBuffer::new(PAGE_BYTES as usize);
    slot.encode(segment.seed, &mut page);
    write(shared, segment, &page, SEAL_OFFSET)
}

/// Writes whole blocks durably, seen by mappings too.
fn write(shared: &Shared, segment: &Segment, blocks: &[u8], offset: u32) -> io::Result<()> {
    // An erase changes whole blocks, too, and on a disk with larger blocks than before these may be neighbours.
    let _rewriting = shared.rewriting.lock();
    let file = shared.io.open(&segment.path, OpenMode::Patch)?;
    file.write_durable_at(blocks, u64::from(offset))?;
    // It may have been cut there.
    segment.length.fetch_max(offset + blocks.len() as u32, Ordering::AcqRel);
    segment.unmap();
    Ok(())
}
