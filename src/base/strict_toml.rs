//! A strict reader of TOML tables, shared by everything that has settings of its own.
//!
//! A reader takes a [`table::Table`] and asks for each setting by name and kind. Whatever is wrong is written to a
//! [`problem::Report`] with its file, line and column, and reading continues, so that the administrator sees all problems
//! at once. A key that no reader asked for is a problem too: a misspelt setting must not be silently ignored.
//!
//! The `toml` crate parses; the typed access is ours, because serde stops at the first error and reports a wrong value
//! without the position of its key.

pub(crate) mod duration;
pub(crate) mod problem;
pub(crate) mod suggest;
pub(crate) mod table;
pub(crate) mod value;
