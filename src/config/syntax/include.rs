//! Where `include "name"` leads (F-05).

use std::path::{Component, Path, PathBuf};

/// The file that `name` means inside a file of `directory`. As in nats-server the name is always taken relative to
/// the including file, even when it begins with `/`.
pub(super) fn resolve(directory: &Path, name: &str) -> PathBuf {
    clean(&directory.join(name.trim_start_matches('/')))
}

/// The directory of a file, `.` when it has none.
pub(super) fn directory_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => clean(parent),
        _ => PathBuf::from("."),
    }
}

/// Removes `.` and resolves `..` by name only.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(cleaned.components().next_back(), Some(Component::Normal(_))) => {
                cleaned.pop();
            }
            Component::ParentDir if cleaned.has_root() => {}
            other => cleaned.push(other),
        }
    }
    if cleaned.as_os_str().is_empty() { PathBuf::from(".") } else { cleaned }
}
