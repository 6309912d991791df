//! `pullgate config migrate`.

use std::io::Write;

use clap::Args;
use serde::Serialize;

use super::write_json;
use crate::base::printable::printable;
use crate::process::config::migrate::{MigratedFile, plan, write};
use crate::tool::cli::Context;
use crate::tool::cli::output::{CliError, Exit, counted};

/// Arguments of `pullgate config migrate`.
#[derive(Debug, Args)]
pub(in crate::tool::cli) struct MigrateArgs {
    /// Rewrite the files; without it the changes are printed and nothing is written
    #[arg(long)]
    write: bool,
}

impl MigrateArgs {
    /// Answers [`Exit::Yes`] when nothing is left to change, and [`Exit::No`] when changes are needed and were not written.
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let files = plan(&context.config_path)?;
        if self.write {
            for file in &files {
                write(file).map_err(|error| {
                    CliError::new("could not migrate the configuration", Exit::Usage)
                        .because(error)
                        .hint(
                            "run the command again as root: files that are migrated already stay as they are",
                        )
                })?;
            }
        }
        if context.json {
            write_json(out, &MigrationView::new(&files, self.write))?;
        } else {
            self.print(context, out, &files)?;
        }
        Ok(if self.write || files.is_empty() {
            Exit::Yes
        } else {
            Exit::No
        })
    }

    fn print(&self, context: &Context, out: &mut dyn Write, files: &[MigratedFile]) -> Result<(), CliError> {
        let mut count = 0_usize;
        for file in files {
            for change in &file.changes {
                let path = printable(&file.path.display().to_string());
                writeln!(out, "{path}:{}: {}", change.line, change.action)?;
                count = count.saturating_add(1);
            }
        }
        let changes = format!("{} in {}", counted(count, "change"), counted(files.len(), "file"));
        if files.is_empty() {
            let done = context.paint.green("ok:");
            writeln!(out, "{done} nothing to migrate")?;
        } else if self.write {
            writeln!(out, "{} wrote {changes}", context.paint.green("ok:"))?;
        } else {
            let them = if count == 1 { "it" } else { "them" };
            context.say(&format!("{changes}; `--write` makes {them}"));
        }
        Ok(())
    }
}

/// The document that `config migrate --json` prints.
#[derive(Serialize)]
struct MigrationView<'f> {
    /// Whether the files have been rewritten.
    written: bool,
    files: Vec<FileView<'f>>,
}

#[derive(Serialize)]
struct FileView<'f> {
    path: String,
    changes: Vec<ChangeView<'f>>,
}

#[derive(Serialize)]
struct ChangeView<'f> {
    line: usize,
    action: &'f str,
}

impl<'f> MigrationView<'f> {
    fn new(files: &'f [MigratedFile], written: bool) -> Self {
        let file = |file: &'f MigratedFile| FileView {
            path: file.path.display().to_string(),
            changes: file
                .changes
                .iter()
                .map(|change| ChangeView {
                    line: change.line,
                    action: &change.action,
                })
                .collect(),
        };
        Self {
            written: written && !files.is_empty(),
            files: files.iter().map(file).collect(),
        }
    }
}
