//! What the rules look at: the packages with their manifests, and every source file of ours.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// The directories of the packages, in the order of the data's way.
const PACKAGES: &[&str] = &[
    "proto",
    "crates/types",
    "crates/reconcile",
    "crates/quic",
    "crates/meta",
    "crates/chunks",
    "crates/records",
    "crates/kit",
    "registry-svc",
    "sync-svc",
    "history-svc",
    "share-svc",
    "client",
    "compose",
];

/// One dependency that a manifest names.
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Only tests and benchmarks have it.
    pub(crate) dev: bool,
}

/// The packages and sources, paths relative to the workspace.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    pub(crate) packages: BTreeMap<String, Vec<Dependency>>,
    pub(crate) sources: BTreeMap<String, String>,
}

impl Workspace {
    /// Reads the workspace at `root`.
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        let mut workspace = Self::default();
        for package in PACKAGES {
            let manifest = fs::read_to_string(root.join(package).join("Cargo.toml"))?;
            workspace.packages.insert((*package).to_owned(), dependencies(&manifest));
            let mut pending = vec![root.join(package)];
            while let Some(directory) = pending.pop() {
                for entry in fs::read_dir(&directory)? {
                    let path: PathBuf = entry?.path();
                    if path.is_dir() && !path.ends_with("target") {
                        pending.push(path);
                    } else if path.extension().is_some_and(|extension| extension == "rs") {
                        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                        workspace.sources.insert(name, fs::read_to_string(&path)?);
                    }
                }
            }
        }
        Ok(workspace)
    }

    /// Makes one of samples.
    pub(crate) fn of(packages: &[(&str, &str)], sources: &[(&str, String)]) -> Self {
        Self {
            packages: packages.iter().map(|(name, toml)| ((*name).to_owned(), dependencies(toml))).collect(),
            sources: sources.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).collect(),
        }
    }

    /// The sources that a user's machine runs: no tests, benchmarks and build scripts.
    pub(crate) fn shipped(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .filter(|(name, _)| name.contains("/src/") && !is_test_file(name))
    }
}

/// Whether a file of `src` is there for tests alone: its module is declared under `#[cfg(test)]`.
fn is_test_file(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

fn dependencies(manifest: &str) -> Vec<Dependency> {
    let manifest: toml::Table = manifest.parse().expect("a manifest is TOML");
    let mut found = Vec::new();
    collect(&manifest, &mut found);
    if let Some(targets) = manifest.get("target").and_then(toml::Value::as_table) {
        for target in targets.values().filter_map(toml::Value::as_table) {
            collect(target, &mut found);
        }
    }
    found
}

fn collect(table: &toml::Table, found: &mut Vec<Dependency>) {
    for (section, dev) in [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)] {
        if let Some(names) = table.get(section).and_then(toml::Value::as_table) {
            for (key, value) in names {
                let name = value.get("package").and_then(toml::Value::as_str).unwrap_or(key);
                found.push(Dependency { name: name.to_owned(), dev });
            }
        }
    }
}
