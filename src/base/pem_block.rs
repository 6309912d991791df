//! The one scanner of PEM blocks: where a file's blocks begin and end. Decoding is the reader's.
//!
//! The scanner finds more than RFC 7468 allows, and the readers accept less. A strict scanner would pass over a private
//! key whose first line is indented or cut off, and a file on a node that holds one must be reported, not ignored. So:
//!
//! - Lines end with LF, CRLF or CR.
//! - A block begins with a line that starts with `-----BEGIN `, spaces and tabs before it aside (keys are pasted out of
//!   YAML). Its label ends at the next `-----` or at the end of that line.
//! - A block ends with the next `-----END <label>-----`, anywhere in a line. Text after it is not part of the
//!   block, and the reader decides whether it is allowed.
//! - The file need not be text: certificates stand below their printed fields, in the encoding of their time.

use std::borrow::Cow;

/// The place at which a block begins, and the rest of the file from there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PemBlock<'a> {
    label: &'a [u8],
    /// From the start of the line with `-----BEGIN` to the end of the file.
    text: &'a [u8],
    /// From the end of the label to the end of the file.
    after_label: &'a [u8],
}

impl<'a> PemBlock<'a> {
    /// Finds every line that begins a block, in their order. A block inside another counts: both begin.
    pub(crate) fn scan(pem: &'a [u8]) -> Vec<Self> {
        let mut blocks = Vec::new();
        let mut text = pem;
        while !text.is_empty() {
            let end = text.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let (line, rest) = text
                .split_at_checked(end.unwrap_or(text.len()))
                .unwrap_or((text, &[]));
            if let Some(after_begin) = trim_indent(line).strip_prefix(BEGIN) {
                let label = before(after_begin, DASHES).unwrap_or_else(|| after_begin.trim_ascii_end());
                let label_end = line.len() - after_begin.len() + label.len();
                blocks.push(Self {
                    label,
                    text,
                    after_label: text.get(label_end..).unwrap_or_default(),
                });
            }
            text = rest.get(1..).unwrap_or_default();
        }
        blocks
    }

    /// Returns the label, unverified: any text.
    pub(crate) fn label(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.label)
    }

    /// Returns the block with its first and last line, for a decoder of RFC 7468, and the text after it. A block without
    /// an end is the rest of the file.
    pub(crate) fn whole_and_rest(&self) -> (&'a [u8], &'a [u8]) {
        let end = self.end_line();
        let length = before(self.text, &end).map_or(self.text.len(), |block| block.len() + end.len());
        self.text.split_at_checked(length).unwrap_or((self.text, &[]))
    }

    /// Returns the text between the first and the last line, and the text after the block. `None` if either line is cut
    /// off.
    pub(crate) fn content_and_rest(&self) -> Option<(&'a [u8], &'a [u8])> {
        let inside = self.after_label.strip_prefix(DASHES)?;
        let end = self.end_line();
        let content = before(inside, &end)?;
        Some((content, inside.get(content.len() + end.len()..)?))
    }

    fn end_line(&self) -> Vec<u8> {
        [END, self.label, DASHES].concat()
    }
}

fn trim_indent(line: &[u8]) -> &[u8] {
    let indent = line
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    line.get(indent..).unwrap_or_default()
}

/// Returns the text before the first occurrence of `mark`.
fn before<'a>(text: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    let start = text.windows(mark.len()).position(|window| window == mark)?;
    text.get(..start)
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::PemBlock;

    fn labels(pem: &[u8]) -> Vec<String> {
        let blocks = PemBlock::scan(pem);
        blocks.iter().map(|block| block.label().into_owned()).collect()
    }

    #[test]
    fn finds_every_block_after_any_text() {
        let file = b"Subject: CN=\xfc\n-----BEGIN A-----\nAAAA\n-----END A-----\n-----BEGIN B-----\r\nBBBB\r\n-----END B-----\r\n";
        assert_eq!(labels(file), ["A", "B"]);
        let [a, b] = PemBlock::scan(file)[..] else {
            panic!("two blocks")
        };
        assert_eq!(a.content_and_rest().unwrap().0, b"\nAAAA\n");
        assert_eq!(
            b.whole_and_rest(),
            (&b"-----BEGIN B-----\r\nBBBB\r\n-----END B-----"[..], &b"\r\n"[..])
        );
        assert_eq!(labels(b""), [""; 0]);
        assert_eq!(labels(b"-----BEGIN"), [""; 0]);
    }

    /// The inputs on which the two earlier scanners differed: an indented block, a label without its closing dashes, a
    /// file with CR alone, a block on one line, and dashes inside the label.
    #[test]
    fn finds_blocks_that_are_not_quite_pem() {
        for (file, label, content) in [
            (
                " \t-----BEGIN A-----\nAAAA\n-----END A-----",
                "A",
                Some("\nAAAA\n"),
            ),
            ("-----BEGIN A\nAAAA\n-----END A-----", "A", None),
            ("-----BEGIN A----\nAAAA\n-----END A-----", "A----", None),
            (
                "x\r-----BEGIN A-----\rAAAA\r-----END A-----",
                "A",
                Some("\rAAAA\r"),
            ),
            ("-----BEGIN A-----AAAA-----END A-----", "A", Some("AAAA")),
            ("-----BEGIN A-B-----\n-----END A-B-----", "A-B", Some("\n")),
            ("-----BEGIN -----\n-----END -----", "", Some("\n")),
            (
                "-----BEGIN A-----\nAAAA\n  -----END A-----",
                "A",
                Some("\nAAAA\n  "),
            ),
        ] {
            let [block] = PemBlock::scan(file.as_bytes())[..] else {
                panic!("one block: {file}")
            };
            assert_eq!(block.label(), label, "{file}");
            let found = block.content_and_rest().map(|(content, rest)| {
                assert_eq!(rest, b"");
                content
            });
            assert_eq!(found, content.map(str::as_bytes), "{file}");
        }
        // Inside a line: escaped in JSON, or quoted in a comment.
        assert_eq!(labels(b"{\"key\":\"-----BEGIN A-----\\nAAAA\"}"), [""; 0]);
        assert_eq!(labels(b"# -----BEGIN A-----\n"), [""; 0]);
    }

    #[test]
    fn an_end_with_another_label_ends_nothing() {
        let file = b"-----BEGIN A-----\nAAAA\n-----END B-----\nx";
        let [block] = PemBlock::scan(file)[..] else {
            panic!("one block")
        };
        assert_eq!(block.content_and_rest(), None);
        assert_eq!(block.whole_and_rest(), (&file[..], &b""[..]));
    }

    #[test]
    fn what_follows_the_end_is_the_rest() {
        for rest in ["", "\n", " x", "\nOCI_API_KEY\n", "\n-----BEGIN B-----"] {
            let file = format!("-----BEGIN A-----\nAAAA\n-----END A-----{rest}");
            let block = PemBlock::scan(file.as_bytes())[0];
            assert_eq!(block.whole_and_rest().1, rest.as_bytes());
            assert_eq!(block.content_and_rest().unwrap().1, rest.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned(bytes in "[- \t\r\nA:é]{0,80}(-----BEGIN A-----|-----BEGIN |-----END A-----)?[- \r\nA]{0,80}") {
            for block in PemBlock::scan(bytes.as_bytes()) {
                let (whole, rest) = block.whole_and_rest();
                prop_assert!(bytes.as_bytes().ends_with(&[whole, rest].concat()));
                if let Some((_, same)) = block.content_and_rest() {
                    prop_assert_eq!(same, rest);
                }
            }
        }
    }
}
