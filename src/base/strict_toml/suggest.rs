//! The parts of hints that name settings: the name that was probably meant, and lists of names.

use strsim::osa_distance;

/// The longest name that is compared. No setting is longer, and the comparison takes time proportional to the length,
/// which the author of the file chooses.
const MAX_NAME_BYTES: usize = 64;

/// The most names that one unknown name is compared with, for the same reason.
const MAX_CANDIDATES: usize = 1024;

/// Joins names for a sentence: `` `a`, `b` and `c` `` with the conjunction "and".
pub(crate) fn quoted_list(names: &[&str], conjunction: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} {conjunction} {last}", others.join(", ")),
    }
}

/// Finds the candidate that was probably meant: the same letters in another case or with other dashes, or one or two
/// typing errors away. Two adjacent letters that are exchanged count as one error.
pub(crate) fn nearest<'n>(unknown: &str, candidates: &[&'n str]) -> Option<&'n str> {
    if unknown.len() > MAX_NAME_BYTES {
        return None;
    }
    let unknown = normalised(unknown);
    candidates
        .iter()
        .take(MAX_CANDIDATES)
        .map(|candidate| (osa_distance(&unknown, &normalised(candidate)), *candidate))
        // In a word of four letters two errors leave too little in common.
        .filter(|(errors, candidate)| *errors <= if candidate.len() < 5 { 1 } else { 2 })
        .min_by_key(|(errors, _)| *errors)
        .map(|(_, candidate)| candidate)
}

fn normalised(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::{nearest, quoted_list};

    #[test]
    fn a_misspelt_name_finds_the_one_that_was_meant() {
        let names = ["keys", "threshold", "signed_repository", "mode"];
        for (unknown, meant) in [
            ("kyes", Some("keys")),
            ("key", Some("keys")),
            ("KEYS", Some("keys")),
            ("Signed-Repository", Some("signed_repository")),
            ("threshhold", Some("threshold")),
            ("treshhold", Some("threshold")),
            ("kex", None),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(unknown, &names), meant, "{unknown}");
        }
        assert_eq!(nearest(&"k".repeat(65), &[&"k".repeat(65)]), None);
    }

    #[test]
    fn a_list_reads_as_a_sentence() {
        assert_eq!(quoted_list(&[], "or"), "");
        assert_eq!(quoted_list(&["a"], "or"), "`a`");
        assert_eq!(quoted_list(&["a", "b"], "or"), "`a` or `b`");
        assert_eq!(quoted_list(&["a", "b", "c"], "and"), "`a`, `b` and `c`");
    }
}
