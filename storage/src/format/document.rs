//! Reads the tables of docs/formats.md, so that tests can hold them to the constants of the code.

const TEXT: &str = include_str!("../../../docs/formats.md");

/// The rows `at | bytes` of the table under a heading.
fn layout(heading: &str) -> Vec<(usize, usize)> {
    let (_, below) = TEXT.split_once(&format!("\n### {heading} (")).unwrap_or_else(|| panic!("no heading {heading}"));
    let rows = below.lines().skip_while(|line| !line.starts_with("| at | bytes |")).skip(2);
    let cells = |line: &str| -> Vec<usize> {
        line.split('|').skip(1).take(2).map(|cell| cell.trim().parse().unwrap_or_default()).collect()
    };
    // A part without a length is not of the fixed size.
    let rows = rows.take_while(|line| line.starts_with('|')).map(cells).filter(|row| row[1] > 0);
    rows.map(|row| (row[0], row[1])).collect()
}

/// Fails unless the table under a heading has fields at these offsets, the last of which is the end.
#[track_caller]
pub(crate) fn check_layout(heading: &str, offsets: &[usize]) {
    let fields: Vec<(usize, usize)> = offsets.windows(2).map(|pair| (pair[0], pair[1] - pair[0])).collect();
    assert_eq!(layout(heading), fields, "{heading}");
    let total = offsets[offsets.len() - 1];
    assert!(TEXT.contains(&format!("\n### {heading} ({total} bytes")), "{heading} of {total} bytes");
}

/// The first two cells of each row of the table that begins with this head.
pub(crate) fn rows_under(head: &str) -> Vec<(&'static str, &'static str)> {
    let (_, below) = TEXT.split_once(head).unwrap_or_else(|| panic!("no table {head}"));
    let rows = below.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = |line: &'static str| -> Vec<&'static str> { line.split('|').skip(1).map(str::trim).take(2).collect() };
    rows.map(cells).map(|cells| (cells[0], cells[1])).collect()
}
