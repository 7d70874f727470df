//! Memory of the program itself. At rest most of a server's resident memory is its own code, and most of that is what
//! only a start uses: reading the configuration, recovery, the first key. Those pages are mapped from the executable and
//! its libraries, so they can be given back once the server is ready; what is used again comes back from the page
//! cache by itself, at less than a microsecond a page.

use std::io;
use std::ops::Range;

/// Gives back what is resident of the program's code and constants. Returns how many bytes were looked at.
///
/// Only pages that equal their file are let go. An error leaves everything as it was and can be ignored.
#[cfg(target_os = "linux")]
pub fn release_program_pages() -> io::Result<usize> {
    use rustix::mm::{Advice, madvise};
    let mut released = 0;
    for Range { start, end } in clean_mappings(&std::fs::read_to_string("/proc/self/smaps")?) {
        // SAFETY: the range is a private mapping of a file that cannot be written to and none of whose pages differs
        // from the file, so each access reads the same bytes as before, from the file again.
        unsafe { madvise(std::ptr::with_exposed_provenance_mut(start), end - start, Advice::LinuxDontNeed)? };
        released += end - start;
    }
    Ok(released)
}

/// Elsewhere the system decides alone.
#[cfg(not(target_os = "linux"))]
pub fn release_program_pages() -> io::Result<usize> {
    Ok(0)
}

/// Addresses of the private, unwritable mappings of files without a page that differs from its file. The constants that
/// the loader has filled with addresses do differ, and are left out that way.
fn clean_mappings(smaps: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        if let Some(mapping) = parse_mapping(line) {
            current = Some(mapping).filter(|mapping| mapping.is_file && mapping.permissions_fit());
        } else if let Some(anonymous) = line.strip_prefix("Anonymous:") {
            let clean = anonymous.split_whitespace().next() == Some("0");
            found.extend(current.take().filter(|_| clean).map(|mapping| mapping.range));
        }
    }
    found
}

struct Mapping<'a> {
    range: Range<usize>,
    permissions: &'a str,
    is_file: bool,
}

impl Mapping<'_> {
    fn permissions_fit(&self) -> bool {
        matches!(self.permissions, "r-xp" | "r--p")
    }
}

/// A line such as `55d0c2a00000-55d0c2a9c000 r--p 00000000 fe:00 4711    /usr/bin/headwater`.
fn parse_mapping(line: &str) -> Option<Mapping<'_>> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let hexadecimal = |digits: &str| usize::from_str_radix(digits, 16).ok();
    let range = hexadecimal(start)?..hexadecimal(end)?;
    let permissions = fields.next()?;
    // Offset and device lie between; what is no file has inode 0.
    let inode = fields.nth(2)?;
    Some(Mapping { range, permissions, is_file: inode != "0" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clean_file_mappings_that_nobody_can_write_to_are_let_go() {
        let smaps = "1000-3000 r--p 00000000 fe:00 7  /bin/headwater\nRss: 8 kB\nAnonymous:             0 kB\n\
                     3000-5000 r-xp 00002000 fe:00 7  /bin/headwater\nRss: 8 kB\nAnonymous:             0 kB\n\
                     5000-6000 r--p 00004000 fe:00 7  /bin/headwater\nRss: 4 kB\nAnonymous:             4 kB\n\
                     6000-7000 rw-p 00005000 fe:00 7  /bin/headwater\nRss: 4 kB\nAnonymous:             0 kB\n\
                     7000-8000 r--s 00000000 fe:00 9  /data/segment\nRss: 4 kB\nAnonymous:             0 kB\n\
                     8000-9000 r-xp 00000000 00:00 0  [vdso]\nRss: 4 kB\nAnonymous:             0 kB\n\
                     9000-a000 r--p 00000000 00:00 0 \nRss: 4 kB\nAnonymous:             0 kB\n";
        assert_eq!(clean_mappings(smaps), [0x1000..0x3000, 0x3000..0x5000]);
        assert!(clean_mappings("nonsense\n1000 r-xp\n-\nAnonymous: 0 kB\n").is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_program_goes_on_after_its_pages_were_released() {
        let digest = |text: &str| text.bytes().fold(7u64, |digest, byte| digest.rotate_left(5) ^ u64::from(byte));
        let before = digest(include_str!("program_pages.rs"));
        assert!(release_program_pages().unwrap() > 0);
        assert_eq!(digest(include_str!("program_pages.rs")), before);
    }
}
