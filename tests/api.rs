//! `proto/` is an API that others script against: it keeps the rules of `buf lint` (STANDARD and COMMENTS; a service is
//! named as it is, without the suffix `Service`), and docs/api.md is what it says.
//!
//! `PULLGATE_WRITE_REFERENCE=1 cargo test --test api` writes the page anew.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a file that cannot be read fails its test"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto};

const FILES: [&str; 4] = [
    "pullgate/v1/admission.proto",
    "pullgate/v1/control.proto",
    "pullgate/v1/decision.proto",
    "pullgate/state/v1/state.proto",
];

/// Numbers of the fields that a path of `SourceCodeInfo` goes through (google/protobuf/descriptor.proto).
const MESSAGES: i32 = 4;
const ENUMS: i32 = 5;
const SERVICES: i32 = 6;
const MEMBERS: i32 = 2;

struct File {
    file: FileDescriptorProto,
    comments: BTreeMap<Vec<i32>, String>,
}

impl File {
    fn comment(&self, path: &[i32]) -> &str {
        self.comments.get(path).map_or("", String::as_str)
    }
}

fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let set = protox::compile(FILES.map(|file| root.join(file)), [&root]).unwrap();
    let ours = set.file.into_iter().filter(|file| FILES.contains(&file.name()));
    let mut files: Vec<File> = ours
        .map(|file| {
            let places = file.source_code_info.as_ref().unwrap().location.iter();
            let comments = places
                .map(|place| (place.path.clone(), place.leading_comments().trim().to_owned()))
                .filter(|(_, comment)| !comment.is_empty());
            File {
                comments: comments.collect(),
                file,
            }
        })
        .collect();
    files.sort_by_key(|file| FILES.iter().position(|name| *name == file.file.name()));
    assert_eq!(files.len(), FILES.len());
    files
}

fn index(number: usize) -> i32 {
    i32::try_from(number).unwrap()
}

#[test]
fn the_rules_of_buf_are_kept() {
    let mut wrong = Vec::new();
    let mut need = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    for file in files() {
        let name = file.file.name();
        let folder = Path::new(name).parent().unwrap().to_str().unwrap();
        need(
            file.file.package() == folder.replace('/', "."),
            format!("{name}: its package is not its folder"),
        );
        need(
            file.file.package().ends_with(".v1"),
            format!("{name}: its package has no version"),
        );
        for (at, message) in file.file.message_type.iter().enumerate() {
            let path = [MESSAGES, index(at)];
            let whole = format!("{name}: {}", message.name());
            need(is_pascal(message.name()), format!("{whole}: not PascalCase"));
            need(!file.comment(&path).is_empty(), format!("{whole}: no comment"));
            for (at, field) in message.field.iter().enumerate() {
                let whole = format!("{whole}.{}", field.name());
                need(is_snake(field.name()), format!("{whole}: not lower_snake_case"));
                let path = [&path[..], &[MEMBERS, index(at)]].concat();
                need(!file.comment(&path).is_empty(), format!("{whole}: no comment"));
                need(
                    field.number() == index(at) + 1,
                    format!("{whole}: numbers are not in order"),
                );
            }
        }
        for (at, values) in file.file.enum_type.iter().enumerate() {
            let path = [ENUMS, index(at)];
            let whole = format!("{name}: {}", values.name());
            let prefix = format!("{}_", values.name().to_uppercase());
            need(!file.comment(&path).is_empty(), format!("{whole}: no comment"));
            for (at, value) in values.value.iter().enumerate() {
                let whole = format!("{whole}.{}", value.name());
                need(value.name().starts_with(&prefix), format!("{whole}: no prefix"));
                let zero = value.name() == format!("{prefix}UNSPECIFIED");
                need(
                    zero == (value.number() == 0),
                    format!("{whole}: the zero value is UNSPECIFIED"),
                );
                let path = [&path[..], &[MEMBERS, index(at)]].concat();
                need(!file.comment(&path).is_empty(), format!("{whole}: no comment"));
            }
        }
        for (at, service) in file.file.service.iter().enumerate() {
            let path = [SERVICES, index(at)];
            need(
                !file.comment(&path).is_empty(),
                format!("{name}: {}: no comment", service.name()),
            );
            for (at, method) in service.method.iter().enumerate() {
                let whole = format!("{name}: {}", method.name());
                let path = [&path[..], &[MEMBERS, index(at)]].concat();
                need(!file.comment(&path).is_empty(), format!("{whole}: no comment"));
                let package = file.file.package();
                let expected = |suffix| format!(".{package}.{}{suffix}", method.name());
                need(
                    method.input_type() == expected("Request"),
                    format!("{whole}: its request's name"),
                );
                need(
                    method.output_type() == expected("Response"),
                    format!("{whole}: its response's name"),
                );
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

fn is_pascal(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_alphanumeric())
}

fn is_snake(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[test]
fn the_reference_is_what_the_files_say() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
    let rendered = rendered();
    if std::env::var_os("PULLGATE_WRITE_REFERENCE").is_some() {
        std::fs::write(&page, &rendered).unwrap();
    }
    let written = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(
        written == rendered,
        "docs/api.md is not what proto/ says: PULLGATE_WRITE_REFERENCE=1 cargo test --test api"
    );
}

fn rendered() -> String {
    let mut page = String::from(
        "# The gRPC API\n\n\
         This page is generated from the files in [proto/pullgate/v1](../proto/pullgate/v1/admission.proto), from which you \
         generate a client. The server also supports reflection (v1) and `grpc.health.v1.Health`. \
         [configuration.md](configuration.md#daemon) shows how to open the sockets. Releases of `v1` never renumber or \
         remove a field.\n",
    );
    for file in files().iter().filter(|file| file.file.package() == "pullgate.v1") {
        for (at, service) in file.file.service.iter().enumerate() {
            let path = [SERVICES, index(at)];
            writeln!(page, "\n## `pullgate.v1.{}`\n", service.name()).unwrap();
            // What stands at the head of the file is about its one service.
            writeln!(page, "{}\n", prose(head(file))).unwrap();
            page.push_str("| Method | Request | Answer | Meaning |\n| --- | --- | --- | --- |\n");
            for (at, method) in service.method.iter().enumerate() {
                let path = [&path[..], &[MEMBERS, index(at)]].concat();
                let stream = if method.server_streaming() {
                    "stream of "
                } else {
                    ""
                };
                writeln!(
                    page,
                    "| `{}` | {} | {stream}{} | {} |",
                    method.name(),
                    link(method.input_type()),
                    link(method.output_type()),
                    cell(file.comment(&path))
                )
                .unwrap();
            }
        }
    }
    for file in files().iter().filter(|file| file.file.package() == "pullgate.v1") {
        writeln!(
            page,
            "\n## Messages of `{}`",
            file.file.name().rsplit('/').next().unwrap()
        )
        .unwrap();
        for (at, values) in file.file.enum_type.iter().enumerate() {
            of_enum(&mut page, file, &[ENUMS, index(at)], values);
        }
        for (at, message) in file.file.message_type.iter().enumerate() {
            of_message(&mut page, file, &[MESSAGES, index(at)], message);
        }
    }
    page
}

fn of_enum(page: &mut String, file: &File, path: &[i32], values: &EnumDescriptorProto) {
    writeln!(
        page,
        "\n### `{}`\n\n{}\n",
        values.name(),
        prose(file.comment(path))
    )
    .unwrap();
    page.push_str("| Value | Number | Meaning |\n| --- | --- | --- |\n");
    for (at, value) in values.value.iter().enumerate() {
        let path = [path, &[MEMBERS, index(at)]].concat();
        let what = cell(file.comment(&path));
        writeln!(page, "| `{}` | {} | {what} |", value.name(), value.number()).unwrap();
    }
}

fn of_message(page: &mut String, file: &File, path: &[i32], message: &DescriptorProto) {
    writeln!(
        page,
        "\n### `{}`\n\n{}",
        message.name(),
        prose(file.comment(path))
    )
    .unwrap();
    if message.field.is_empty() {
        return;
    }
    page.push_str("\n| Field | Number | Type | Meaning |\n| --- | --- | --- | --- |\n");
    for (at, field) in message.field.iter().enumerate() {
        let path = [path, &[MEMBERS, index(at)]].concat();
        let what = cell(file.comment(&path));
        let of = type_of(field);
        writeln!(
            page,
            "| `{}` | {} | {of} | {what} |",
            field.name(),
            field.number()
        )
        .unwrap();
    }
}

fn type_of(field: &FieldDescriptorProto) -> String {
    let of = match field.r#type() {
        Type::Message | Type::Enum => link(field.type_name()),
        Type::String => "string".to_owned(),
        Type::Bool => "bool".to_owned(),
        Type::Int64 => "int64".to_owned(),
        Type::Uint64 => "uint64".to_owned(),
        Type::Uint32 => "uint32".to_owned(),
        other => panic!("{other:?} has no name here"),
    };
    let one_of = if field.oneof_index.is_some() {
        ", one of"
    } else {
        ""
    };
    match field.label() {
        Label::Repeated => format!("repeated {of}"),
        Label::Optional | Label::Required => format!("{of}{one_of}"),
    }
}

fn link(type_name: &str) -> String {
    let name = type_name.trim_start_matches('.');
    match name.strip_prefix("pullgate.v1.") {
        Some(name) => format!("[`{name}`](#{})", name.to_lowercase()),
        None => format!("`{name}`"),
    }
}

/// The comment before the file's `syntax`.
fn head(file: &File) -> &str {
    file.comment(&[12])
}

fn prose(comment: &str) -> String {
    let lines: Vec<&str> = comment.lines().map(str::trim).collect();
    lines.join("\n")
}

fn cell(comment: &str) -> String {
    let lines: Vec<&str> = comment.lines().map(str::trim).collect();
    lines.join(" ").replace('|', "\\|")
}
