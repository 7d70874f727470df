//! The house rules that a program can check: who may use whom (docs/ARCHITECTURE.md), and a head on every file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// For each module of the server crate: the other modules it may name. What is not here may use everything.
const ALLOWED: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("config", &["protocol"]),
    ("account", &["protocol", "config", "router"]),
    ("auth", &["protocol", "config", "account"]),
    ("router", &["account", "protocol"]),
    ("connection", &["router", "auth", "account", "protocol", "config"]),
    ("jetstream", &["router", "account", "protocol", "config"]),
    ("monitor", &["config", "connection", "router", "account", "jetstream", "server", "protocol"]),
];

#[test]
fn modules_use_only_the_layers_below_them() {
    let mut edges: BTreeMap<(String, String), PathBuf> = BTreeMap::new();
    for file in rust_files(Path::new("src")) {
        let Some(module) = module_of(&file) else { continue };
        for used in used_modules(&read(&file)) {
            edges.entry((module.clone(), used)).or_insert_with(|| file.clone());
        }
    }
    assert!(!edges.is_empty(), "no edge was found: the check is blind");
    let forbidden: Vec<String> = edges
        .iter()
        .filter(|((from, to), _)| from != to && !may_use(from, to))
        .map(|((from, to), file)| format!("{from} -> {to} in {}", file.display()))
        .collect();
    assert!(forbidden.is_empty(), "edges that the architecture does not allow:\n{}", forbidden.join("\n"));
}

#[test]
fn storage_and_raft_stay_below_the_server() {
    for (folder, forbidden) in [
        ("storage/src", ["tokio", "headwater_raft", "headwater::"].as_slice()),
        ("raft/src", ["tokio", "headwater::"].as_slice()),
    ] {
        for file in rust_files(Path::new(folder)) {
            let text = read(&file);
            for word in forbidden {
                let used = text.lines().any(|line| line.trim_start().starts_with("use ") && line.contains(word));
                assert!(!used, "{} uses {word}", file.display());
            }
        }
    }
}

#[test]
fn only_the_catalogue_uses_sled() {
    for folder in ["src", "storage/src", "raft/src"] {
        for file in rust_files(Path::new(folder)) {
            let uses = read(&file).contains("sled::");
            let in_catalogue = file.components().any(|part| part.as_os_str() == "catalogue");
            assert!(!uses || in_catalogue, "{} uses sled", file.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for folder in ["src", "storage/src", "raft/src", "raft/proto/src", "tests", "benches"] {
        for file in rust_files(Path::new(folder)) {
            assert!(read(&file).starts_with("//!"), "{} has no head", file.display());
        }
    }
}

fn may_use(from: &str, to: &str) -> bool {
    ALLOWED.iter().find(|(module, _)| *module == from).is_none_or(|(_, allowed)| allowed.contains(&to))
}

/// `src/router/trie.rs` and `src/router.rs` are of the module `router`; `main.rs`, `lib.rs` are of none.
fn module_of(file: &Path) -> Option<String> {
    let first = file.strip_prefix("src").ok()?.components().next()?.as_os_str().to_str()?;
    let module = first.trim_end_matches(".rs");
    if matches!(module, "main" | "lib") { None } else { Some(module.to_owned()) }
}

/// The top-level modules that the non-test part of a file names through `crate::`.
fn used_modules(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.match_indices("crate::").map(move |(at, word)| &line[at + word.len()..]))
        .map(|rest| rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect())
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            // What cargo builds is not ours.
            if path.file_name().is_some_and(|name| name == "target") {
                continue;
            }
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
