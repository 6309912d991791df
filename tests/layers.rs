//! A module uses only modules that `lib.rs` declares above it: the way of a pull reads in one direction.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn a_module_uses_only_what_stands_above_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let order = declared(&fs::read_to_string(source.join("lib.rs")).unwrap());
    assert!(
        order.len() == 11,
        "the modules of lib.rs were not found: {order:?}"
    );
    let mut uses = 0;
    let mut wrong = Vec::new();
    for file in rust_files(&source) {
        let relative = file.strip_prefix(&source).unwrap();
        let module = relative
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs");
        let Some(place) = order.iter().position(|name| name == module) else {
            assert!(
                ["lib", "main", "bin"].contains(&module),
                "{module} is not declared in lib.rs"
            );
            continue;
        };
        for used in used(&fs::read_to_string(&file).unwrap()) {
            let Some(other) = order.iter().position(|name| *name == used) else {
                continue;
            };
            uses += 1;
            if other > place {
                wrong.push(format!(
                    "{} uses `{used}`, which is declared below `{module}`",
                    relative.display()
                ));
            }
        }
    }
    assert!(uses > 50, "only {uses} uses were found: the scan is broken");
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn the_scan_sees_a_use_that_is_wrong() {
    let code = "/// [`crate::gate`] in a comment\nuse crate::{door, oci::Digest};\nlet x = crate::verify::verify();\n\
                #[cfg(test)]\nmod tests { use crate::demo; }\n";
    assert_eq!(used(code), ["door", "oci", "verify"]);
}

/// The modules in the order of their declarations.
fn declared(lib: &str) -> Vec<String> {
    lib.lines()
        .filter_map(|line| {
            line.strip_prefix("pub ")
                .unwrap_or(line)
                .strip_prefix("mod ")
                .and_then(|rest| rest.strip_suffix(';'))
        })
        .map(str::to_owned)
        .collect()
}

/// The first path part after each `crate::` outside comments and test modules.
fn used(code: &str) -> Vec<String> {
    let code = code.split("#[cfg(test)]").next().unwrap();
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut item = String::new();
            for character in group.chars() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => names.push(first_part(&std::mem::take(&mut item))),
                    _ if depth == 0 => item.push(character),
                    _ => {}
                }
            }
            names.push(first_part(&item));
        } else {
            names.push(first_part(rest));
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn first_part(path: &str) -> String {
    path.trim_start()
        .chars()
        .take_while(|each| each.is_ascii_alphanumeric() || *each == '_')
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
