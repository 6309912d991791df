//! Records as sources find them.

use bytes::Bytes;

use crate::signature::{Format, Locator, SourceName};

/// Bytes that may be a signature record, at most [`Format::max_bytes`] long, and where a source found them.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The format. The source that listed the record knows its artifact type or its file name, so the source chooses the
    /// format, once.
    pub format: &'static dyn Format,
    /// The source that listed the record.
    pub source: SourceName,
    /// Where exactly the source found the record.
    pub locator: Locator,
    /// The layer's media type, where the record is a layer of a manifest.
    pub unverified_media_type: Option<Box<str>>,
    /// The record.
    pub unverified: Bytes,
}
