//! The strict reader of configuration files: every unread key is a problem, and all problems are reported at once.

pub(crate) mod duration;
pub(crate) mod file;
pub(crate) mod problem;
pub(crate) mod suggest;
pub(crate) mod table;
pub(crate) mod value;
