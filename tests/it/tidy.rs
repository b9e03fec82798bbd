//! Keeps the import table of `ARCHITECTURE.md` true.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Module → which of our modules it may use. Modules not listed may use everything.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("domain", &[] as &[&str]),
        ("clock", &[]),
        ("random", &[]),
        ("shutdown", &[]),
        ("telemetry", &[]),
        ("outbound", &["clock", "telemetry"]),
        ("store", &["domain", "telemetry"]),
        ("graph", &["domain", "outbound", "clock", "random", "shutdown", "telemetry"]),
        ("cxone", &["domain", "outbound", "clock", "random", "telemetry"]),
        (
            "worker",
            &["domain", "store", "graph", "cxone", "outbound", "clock", "random", "shutdown", "telemetry"],
        ),
        (
            "web",
            &[
                "domain",
                "store",
                "clock",
                "random",
                "shutdown",
                "telemetry",
                "graph::notification",
                "outbound",
            ],
        ),
        ("sim", &[]),
        ("config", &["domain", "telemetry", "outbound"]),
    ])
}

/// Crate → the only modules that may name it.
fn owners() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("redb", &["store"] as &[&str]),
        ("axum", &["web", "sim"]),
        ("hyper", &["web", "sim"]),
        ("hyper_util", &["web", "sim"]),
        ("reqwest", &["outbound", "sim"]),
        ("clap", &["cli"]),
        ("prometheus_client", &["telemetry"]),
        ("opentelemetry", &["telemetry"]),
        ("opentelemetry_otlp", &["telemetry"]),
        ("opentelemetry_sdk", &["telemetry"]),
        ("tracing_opentelemetry", &["telemetry"]),
        ("jsonwebtoken", &["graph", "sim"]),
        ("x509_parser", &["outbound"]),
    ])
}

/// What a pure module must not name.
const IMPURE: &[&str] =
    &["tokio::", "axum::", "reqwest::", "redb::", "tracing::", "std::fs", "std::net", "std::env"];

fn sources() -> Vec<(String, PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    assert!(files.len() > 40, "only {} files found", files.len());
    let named = |path: PathBuf| {
        let relative = path.strip_prefix(&root).unwrap().to_owned();
        let first = relative.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = first.trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).unwrap();
        (module, relative, text)
    };
    files.into_iter().map(named).collect()
}

/// Code lines, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line.split("//").next().unwrap_or_default()))
        .filter(|(_, line)| !line.trim().is_empty())
}

/// The paths after `crate::` in a line: `use crate::{a, b}` counts for both.
fn crate_paths(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let names = group.split('}').next().unwrap_or_default();
            found.extend(names.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()));
        } else {
            let end =
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            found.push(rest[..end].to_owned());
        }
    }
    found
}

#[test]
fn modules_use_only_what_the_import_table_allows() {
    let allowed = allowed();
    let mut broken = Vec::new();
    for (module, path, text) in sources() {
        let Some(may) = allowed.get(module.as_str()) else { continue };
        for (n, line) in code(&text) {
            for used in crate_paths(line) {
                let own = used == module || used.starts_with(&format!("{module}::"));
                let fits = may.iter().any(|name| used == *name || used.starts_with(&format!("{name}::")));
                if !own && !fits {
                    broken.push(format!("src/{}:{n}: {module} must not use {used}", path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn each_library_is_named_only_where_it_belongs() {
    let mut broken = Vec::new();
    for (module, path, text) in sources() {
        for (krate, owners) in owners() {
            if owners.contains(&module.as_str()) {
                continue;
            }
            for (n, line) in code(&text) {
                let named = line.match_indices(&format!("{krate}::")).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                });
                if named {
                    broken.push(format!("src/{}:{n}: only {owners:?} may name {krate}", path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_domain_is_pure() {
    let mut broken = Vec::new();
    for (module, path, text) in sources() {
        if module != "domain" {
            continue;
        }
        for (n, line) in code(&text) {
            for word in IMPURE {
                if line.contains(word) {
                    broken.push(format!("src/{}:{n}: the domain must not name {word}", path.display()));
                }
            }
            if line.contains("async ") {
                broken.push(format!("src/{}:{n}: the domain must not be async", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
