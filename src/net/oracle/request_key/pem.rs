//! The one PEM block of a private key's file, in the forms that OpenSSL has written over the years: with the header lines
//! of RFC 1421, and followed by the line that Oracle's console may add. `pem-rfc7468` refuses both, so this module takes
//! the content apart.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::RequestKeyError;
use crate::base::limits::KEY_BYTES;
use crate::base::pem_block::PemBlock;
use crate::base::printable::excerpt;

/// A PEM block whose content is not decoded yet.
pub(super) struct Block<'a> {
    pub(super) label: Cow<'a, str>,
    /// `Name: value` lines.
    pub(super) headers: Vec<(&'a str, &'a str)>,
    base64: Zeroizing<String>,
}

impl Block<'_> {
    /// Decodes the content.
    pub(super) fn decode(&self) -> Result<Zeroizing<Vec<u8>>, RequestKeyError> {
        match STANDARD.decode(self.base64.as_str()) {
            Ok(bytes) => Ok(Zeroizing::new(bytes)),
            // The position of the error would tell of the bytes around it.
            Err(_position) => Err(RequestKeyError::Base64),
        }
    }
}

/// Finds the only block. Text before it is ignored (RFC 7468, section 2); only Oracle's mark may follow it.
pub(super) fn only_block(pem: &[u8]) -> Result<Block<'_>, RequestKeyError> {
    if pem.len() > KEY_BYTES {
        return Err(RequestKeyError::TooLarge { limit: KEY_BYTES });
    }
    let blocks = PemBlock::scan(pem);
    let found = match blocks.as_slice() {
        [] => return Err(RequestKeyError::NotPem),
        [found] => *found,
        many => return Err(RequestKeyError::ManyBlocks(many.len())),
    };
    let label = found.label();
    let Some((content, rest)) = found.content_and_rest() else {
        return Err(RequestKeyError::Unfinished {
            label: excerpt(&label),
        });
    };
    let mut lines_after = rest.split(|byte| matches!(byte, b'\r' | b'\n'));
    if !lines_after.all(|line| matches!(line.trim_ascii(), b"" | ORACLE_MARK)) {
        return Err(RequestKeyError::TextAfter);
    }
    let Ok(content) = std::str::from_utf8(content) else {
        return Err(RequestKeyError::Base64);
    };
    let mut block = Block {
        label,
        headers: Vec::new(),
        base64: Zeroizing::new(String::with_capacity(content.len())),
    };
    for line in content.split(['\r', '\n']).map(str::trim) {
        match line.split_once(':') {
            Some((name, value)) => block.headers.push((name.trim(), value.trim())),
            None => block.base64.push_str(line),
        }
    }
    Ok(block)
}

/// The line that Oracle's console writes below the keys that it generates.
const ORACLE_MARK: &[u8] = b"OCI_API_KEY";
