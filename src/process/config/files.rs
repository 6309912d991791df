//! The files of a configuration: the main file, and the files that `include` names.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::files::{FileAction, FileError, read_text};
use crate::base::limits::CONFIG_BYTES;
use crate::base::strict_toml::problem::{ConfigSource, Report, SourceSpan};
use crate::base::strict_toml::table::Text;

/// Files that `include` may name together.
const INCLUDED_FILES: usize = 1024;

/// Reads a file of the configuration, which must be UTF-8 and at most [`CONFIG_BYTES`] long.
///
/// # Errors
/// See [`FileError`].
pub(super) fn source(path: &Path) -> Result<ConfigSource, FileError> {
    let text = read_text(path, CONFIG_BYTES)?;
    Ok(ConfigSource {
        path: path.to_owned(),
        text,
    })
}

/// Reads what `include` names: files as they are named, then sorted by name within one pattern, none twice.
pub(super) fn included(main: &ConfigSource, patterns: &[Text<'_>], report: &Report) -> Vec<ConfigSource> {
    let mut paths: Vec<(PathBuf, SourceSpan)> = Vec::new();
    for pattern in patterns {
        for path in matches(main, *pattern, report) {
            if same_file(&path, &main.path) {
                let hint = Some("keep included files in a separate folder".to_owned());
                report.problem(
                    pattern.span,
                    format!("`{}` matches this file itself", pattern.text),
                    hint,
                );
            } else if paths.len() == INCLUDED_FILES {
                let hint = Some("put several tables into each file".to_owned());
                report.problem(
                    pattern.span,
                    format!("more than {INCLUDED_FILES} files are included"),
                    hint,
                );
                return Vec::new();
            } else if !paths.iter().any(|(known, _)| *known == path) {
                paths.push((path, pattern.span));
            }
        }
    }
    let mut sources = Vec::with_capacity(paths.len());
    for (path, at) in paths {
        match source(&path) {
            Ok(source) => sources.push(source),
            Err(error) => {
                report.problem(at, error.to_string(), error.hint());
            }
        }
    }
    sources
}

/// The folder in which the packages and the documentation place included files, beside the main file.
const USUAL_FOLDER: &str = "policy.d";

/// Warns about files in the usual folder for included files that no pattern of `include` matches. The author of a rule in
/// such a file believes that it is in force.
pub(super) fn warn_of_left_out(main: &ConfigSource, included: &[ConfigSource], report: &Report) {
    // A folder that `include` names and that cannot be read is reported at `include`.
    let Ok(listed) = listed(&main.folder().join(USUAL_FOLDER), "*.toml") else {
        return;
    };
    let known: BTreeSet<&Path> = included.iter().map(|source| source.path.as_path()).collect();
    let unknown = listed
        .into_iter()
        .filter(|path| !known.contains(path.as_path()))
        .collect::<Vec<_>>();
    if unknown.is_empty() {
        return;
    }
    // The same file may be included under another spelling, or behind a symbolic link.
    let known: BTreeSet<PathBuf> = included
        .iter()
        .filter_map(|source| source.path.canonicalize().ok())
        .collect();
    let mut left_out = unknown
        .into_iter()
        .filter(|path| path.canonicalize().map_or(true, |path| !known.contains(&path)));
    let start = SourceSpan::start_of(0);
    // One example is enough; the folder may contain thousands.
    if let Some(path) = left_out.next() {
        report.warning(
            start,
            format!("`{}` is ignored: no `include` pattern matches it", path.display()),
            Some(format!("add `include = [\"{USUAL_FOLDER}/*.toml\"]`")),
        );
    }
}

fn matches(main: &ConfigSource, pattern: Text<'_>, report: &Report) -> Vec<PathBuf> {
    let whole = main.folder().join(pattern.text);
    let (folder, name) = pattern.text.rsplit_once('/').unwrap_or(("", pattern.text));
    if folder.contains('*') {
        let hint = Some("name each folder in full: `policy.d/*.toml`".to_owned());
        report.problem(
            pattern.span,
            "`*` is allowed only in the last part of a path",
            hint,
        );
        return Vec::new();
    }
    if !name.contains('*') {
        // A missing file is reported when it is read.
        return vec![whole];
    }
    let folder = whole.parent().unwrap_or(Path::new("")).to_owned();
    match listed(&folder, name) {
        Ok(paths) => paths,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            report.warning(
                pattern.span,
                format!("there is no folder `{}`", folder.display()),
                Some("create it, or remove it from `include`".to_owned()),
            );
            Vec::new()
        }
        Err(source) => {
            let error = FileError::from_io(&folder, FileAction::Read, &source);
            report.problem(pattern.span, error.to_string(), error.hint());
            Vec::new()
        }
    }
}

/// Lists the files of a folder whose names match, sorted by name.
fn listed(folder: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let names: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    let mut names: Vec<_> = names.into_iter().filter(|name| wildcard(pattern, name)).collect();
    names.sort();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// Whether a name matches a pattern in which `*` stands for any characters. As in a shell, `*` does not match the dot of a
/// hidden file, because editors keep their locks and copies there.
fn wildcard(pattern: &str, name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    if name.starts_with(b".") && !pattern.starts_with('.') {
        return false;
    }
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default().as_bytes();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        return rest.is_empty();
    };
    for piece in pieces {
        let Some(found) = find(rest, piece.as_bytes()) else {
            return false;
        };
        rest = found;
    }
    rest.ends_with(last.as_bytes())
}

/// Returns the bytes after the first occurrence of `piece`.
fn find<'b>(bytes: &'b [u8], piece: &[u8]) -> Option<&'b [u8]> {
    (0..=bytes.len()).find_map(|start| bytes.get(start..)?.strip_prefix(piece))
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (std::fs::canonicalize(one), std::fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        // A file that cannot be resolved is reported when it is read.
        (Ok(_) | Err(_), Ok(_) | Err(_)) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::wildcard;

    #[test]
    fn a_star_matches_any_characters() {
        for (pattern, name) in [
            ("*.toml", "a.toml"),
            ("*", "a"),
            ("10-*.toml", "10-.toml"),
            ("a*b*c", "abc"),
            ("a*b*c", "axxbxbxc"),
            (".*.toml", ".a.toml"),
            ("**.toml", "a.toml"),
        ] {
            assert!(wildcard(pattern, OsStr::new(name)), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.toml", "a.toml~"),
            ("*.toml", ".a.toml"),
            ("*.toml", "a.TOML"),
            ("*.toml", "toml"),
            ("a*a", "a"),
            ("ab*ba", "aba"),
            ("a*b*c", "acb"),
        ] {
            assert!(!wildcard(pattern, OsStr::new(name)), "{pattern} {name}");
        }
    }
}
