//! Words of errors: what was probably meant, and what there is.

use std::fmt::Display;

/// Names that are compared with one that is unknown.
const NAMES: usize = 1024;

/// The names, for a sentence.
pub(crate) fn list<N: Display>(names: &[N]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The name that was probably meant: other case, or a letter or two away.
pub(crate) fn nearest<'n>(name: &str, names: &[&'n str]) -> Option<&'n str> {
    // Nothing known is longer; a hostile key must not buy time here.
    if name.len() > 64 {
        return None;
    }
    let plain = name.to_lowercase().replace('-', "_");
    names
        .iter()
        .take(NAMES)
        .map(|known| (distance(&plain, &known.to_lowercase().replace('-', "_")), *known))
        .filter(|(distance, known)| *distance <= if known.len() < 5 { 1 } else { 2 })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Levenshtein's distance.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, left) in one.chars().enumerate() {
        let mut next = vec![index.saturating_add(1)];
        let mut last = index.saturating_add(1);
        for ((right, diagonal), above) in other.iter().zip(&row).zip(row.iter().skip(1)) {
            let changed = diagonal.saturating_add(usize::from(left != *right));
            last = changed.min(above.saturating_add(1)).min(last.saturating_add(1));
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
