//! The packages the project is to be made with are dependencies of its crates, and are imported by their code.

use paravane_tests::source;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The packages, each of which must be declared and imported by one and the same crate.
const PACKAGES: [&str; 7] =
    ["x86_64", "spin", "bitflags", "log", "zerocopy", "static_assertions", "hashbrown"];

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(source::root())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

/// The crates that have a package among their ordinary dependencies, with their folders.
fn dependents(metadata: &Value, package: &str) -> Vec<String> {
    let members = metadata["packages"].as_array().expect("the workspace has packages");
    members
        .iter()
        .filter(|member| {
            let dependencies = member["dependencies"].as_array().expect("a list");
            // The kind of an ordinary dependency is null; "dev" and "build" are named.
            dependencies
                .iter()
                .any(|dependency| dependency["name"] == package && dependency["kind"].is_null())
        })
        .map(|member| member["manifest_path"].as_str().expect("a path").to_owned())
        .collect()
}

/// The file outside tests that imports the package, if there is one.
fn importer(manifest: &str, package: &str) -> Option<String> {
    let folder = Path::new(manifest).parent().expect("a manifest lies in a folder").join("src");
    source::files(&folder, &[".rs"])
        .into_iter()
        .filter(|path| !path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("test")))
        .find(|path| {
            let text = fs::read_to_string(path).expect("a source file is text");
            source::imports(source::without_tests(&text), package)
        })
        .map(|path| path.display().to_string())
}

#[test]
fn every_named_package_is_declared_and_imported() {
    let metadata = metadata();
    let mut bad = Vec::new();
    for package in PACKAGES {
        let dependents = dependents(&metadata, package);
        match dependents.iter().find_map(|manifest| importer(manifest, package)) {
            Some(path) => println!("{package}: {path}"),
            None if dependents.is_empty() => bad.push(format!("{package} is no crate's dependency")),
            None => bad.push(format!("{package} is never imported by {}", dependents.join(", "))),
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn a_package_nobody_uses_is_noticed() {
    let metadata = metadata();
    assert!(dependents(&metadata, "no-such-package").is_empty());
    // A dependency of tests alone does not count.
    assert!(dependents(&metadata, "proptest").is_empty());
    let core = source::root().join("hypervisor/core/Cargo.toml").display().to_string();
    assert_eq!(importer(&core, "no_such_package"), None);
}
