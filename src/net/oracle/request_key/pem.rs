//! The one PEM block of a private key's file, in the forms that OpenSSL has written over the years: with the header
//! lines of RFC 1421, and followed by the line that Oracle's console may add.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::RequestKeyError;
use crate::base::limits::KEY_BYTES;
use crate::base::printable::excerpt;

/// A PEM block whose content is not decoded yet.
pub(super) struct Block<'a> {
    pub(super) label: &'a str,
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
    let Ok(text) = std::str::from_utf8(pem) else {
        return Err(RequestKeyError::NotPem);
    };
    let begins = text.lines().filter(|line| label(line).is_some()).count();
    if begins > 1 {
        return Err(RequestKeyError::ManyBlocks(begins));
    }
    let mut lines = text.lines().map(str::trim);
    let label = lines.find_map(label).ok_or(RequestKeyError::NotPem)?;
    let end = format!("-----END {label}-----");
    let mut block = Block {
        label,
        headers: Vec::new(),
        base64: Zeroizing::new(String::with_capacity(pem.len())),
    };
    for line in lines.by_ref() {
        if line == end {
            return match lines.find(|line| !line.is_empty() && *line != ORACLE_MARK) {
                None => Ok(block),
                Some(_) => Err(RequestKeyError::TextAfter),
            };
        }
        match line.split_once(':') {
            Some((name, value)) => block.headers.push((name.trim(), value.trim())),
            None => block.base64.push_str(line),
        }
    }
    Err(RequestKeyError::Unfinished {
        label: excerpt(label),
    })
}

fn label(line: &str) -> Option<&str> {
    line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----")
}

/// The line that Oracle's console writes below the keys that it generates.
const ORACLE_MARK: &str = "OCI_API_KEY";
