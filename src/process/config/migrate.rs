//! `pullgate config migrate`: rewrites the files of an earlier release so that they load again and mean the same.
//!
//! Two settings changed. A rule with `require = "signed"` names its `formats`, so that a release with another format does
//! not widen it: the only format of earlier releases was `oracle`. And the word `"tag"` of `signatures` is part of
//! `"referrers"`, which includes the fallback tag of the distribution specification.
//!
//! The few changed bytes are spliced into the text at the places that the loader's parser reports, and everything else
//! stays as it is. `toml_edit` was tried (0.25.18) and refused: it writes LF for CRLF, drops a byte order mark, moves the
//! dotted keys of one table together, and keeps the comment behind an item of a list with the *next* item, so that removing
//! one item removes the comment of another.

mod edit;
mod replace;

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{Config, ConfigErrors, read_all};
use crate::base::strict_toml::problem::{ConfigSource, Report};
use crate::process::config::document::ConfigDocument;
use crate::process::config::migrate::edit::edits;
pub use crate::process::config::migrate::replace::ReplaceError;

/// A file that has to be rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigratedFile {
    /// The file, as the configuration names it.
    pub path: PathBuf,
    /// The text of today.
    pub before: String,
    /// The text after the migration.
    pub after: String,
    /// Every change, by line; never empty.
    pub changes: Vec<MigrationChange>,
}

/// One change of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationChange {
    /// The line of `before`, counted from 1.
    pub line: usize,
    /// The change, in the imperative.
    pub action: String,
}

/// Finds the changes that the main file and the files that it includes need. An empty list means that they load as they
/// are.
///
/// # Errors
/// [`ConfigErrors`]: the problems that a migration does not solve. Then no file is to be rewritten, because a configuration
/// that is not understood as a whole must not be changed in parts.
pub fn plan(path: &Path) -> Result<Vec<MigratedFile>, ConfigErrors> {
    read_all(path, Timestamp::now(), |documents, config, report| {
        let sources: Vec<&ConfigSource> = documents.iter().map(|document| document.source).collect();
        if config.is_ok() && report.is_empty() {
            return Ok(Vec::new());
        }
        report.without_outdated(&sources)?;
        let files: Vec<_> = documents.iter().map(migrated).collect();
        check(path, &sources, &files)?;
        Ok(files.into_iter().flatten().collect())
    })
}

/// Replaces the file by its migrated text: at once, on disk when the function returns, with the same owner and mode.
///
/// # Errors
/// [`ReplaceError`]: the file is as it was.
pub fn write(file: &MigratedFile) -> Result<(), ReplaceError> {
    replace::replace(&file.path, &file.before, &file.after)
}

/// Returns the migrated file, or `None` where nothing has to change.
fn migrated(document: &ConfigDocument<'_>) -> Option<MigratedFile> {
    let before = &document.source.text;
    let edits = edits(before, document.tree());
    if edits.is_empty() {
        return None;
    }
    let changes = edits.iter().map(|edit| MigrationChange {
        line: before
            .get(..edit.position)
            .unwrap_or_default()
            .matches('\n')
            .count()
            .saturating_add(1),
        action: edit.action.clone(),
    });
    Some(MigratedFile {
        path: document.source.path.clone(),
        before: before.clone(),
        after: edit::apply(before, &edits),
        changes: changes.collect(),
    })
}

/// Loads the migrated texts, so that no file is written that would not load.
fn check(path: &Path, sources: &[&ConfigSource], files: &[Option<MigratedFile>]) -> Result<(), ConfigErrors> {
    let migrated: Vec<ConfigSource> = sources
        .iter()
        .zip(files)
        .map(|(source, file)| ConfigSource {
            path: source.path.clone(),
            text: file
                .as_ref()
                .map_or_else(|| source.text.clone(), |file| file.after.clone()),
        })
        .collect();
    let documents: Vec<_> = migrated
        .iter()
        .enumerate()
        .map(|(file, source)| ConfigDocument::parse(source, file))
        .collect();
    let report = Report::default();
    let config = super::read(path, &documents, Timestamp::now(), &report);
    let sources: Vec<&ConfigSource> = migrated.iter().collect();
    let (_config, _warnings): (Config, _) = report.finish(config, &sources)?;
    Ok(())
}

#[cfg(test)]
mod tests;
