//! A parser for the parts of Markdown that our pages use: fenced blocks, tables, headings, links and inline code.

use std::path::{Path, PathBuf};

/// A parsed page.
pub(crate) struct Page {
    /// The path relative to the repository, for messages.
    pub(crate) path: PathBuf,
    pub(crate) blocks: Vec<Block>,
    /// The lines outside fenced blocks, with their numbers.
    pub(crate) prose: Vec<(usize, String)>,
}

/// A fenced block.
pub(crate) struct Block {
    /// `path:line` of its first line.
    pub(crate) place: String,
    pub(crate) language: String,
    pub(crate) text: String,
    /// The path in a comment `<!-- file: … -->` directly above the block.
    pub(crate) shipped: Option<PathBuf>,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns all pages, sorted by name.
pub(crate) fn pages() -> Vec<Page> {
    let mut paths: Vec<PathBuf> = ["CHANGELOG.md", "README.md", "SECURITY.md"]
        .map(PathBuf::from)
        .into();
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        let path = Path::new("docs").join(entry.unwrap().file_name());
        if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(|path| page(path)).collect()
}

pub(crate) fn page(path: &Path) -> Page {
    let text = std::fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut page = Page {
        path: path.to_owned(),
        blocks: Vec::new(),
        prose: Vec::new(),
    };
    let mut shipped = None;
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else {
            let named = line
                .strip_prefix("<!-- file: ")
                .and_then(|rest| rest.strip_suffix(" -->"));
            shipped = named.map(PathBuf::from);
            page.prose.push((index + 1, line.to_owned()));
            continue;
        };
        let place = format!("{}:{}", path.display(), index + 2);
        // The lines of a block in a list have the indentation of its fence.
        let indent = line.len() - line.trim_start().len();
        let mut text = String::new();
        loop {
            let (_, line) = lines
                .next()
                .unwrap_or_else(|| panic!("{place}: a block without an end"));
            if line.trim_start() == "```" {
                break;
            }
            text.push_str(line.get(indent..).unwrap_or_default());
            text.push('\n');
        }
        page.blocks.push(Block {
            place,
            language: language.to_owned(),
            text,
            shipped: shipped.take(),
        });
    }
    page
}

impl Page {
    /// Returns the anchors of the headings, by GitHub's rules.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let headings = self.prose.iter().filter(|(_, line)| line.starts_with('#'));
        headings
            .map(|(_, line)| anchor(line.trim_start_matches('#').trim()))
            .collect()
    }

    /// Returns `(line, target)` of every link.
    pub(crate) fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (number, line) in &self.prose {
            let line = without_code(line);
            for (start, _) in line.match_indices("](") {
                let target = line[start + 2..].split(')').next().unwrap();
                links.push((*number, target.to_owned()));
            }
        }
        links
    }

    /// Returns `(line, text)` of every piece of inline code, including code that continues in the next line.
    pub(crate) fn inline_code(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let mut open: Option<(usize, String)> = None;
        for (number, line) in &self.prose {
            for (index, piece) in line.split('`').enumerate() {
                if index == 0 {
                    if let Some((_, text)) = &mut open {
                        text.push(' ');
                        text.push_str(piece.trim_start());
                    }
                    continue;
                }
                match open.take() {
                    Some(code) => found.push(code),
                    None => open = Some((*number, piece.to_owned())),
                }
            }
            assert!(
                open.is_none() || !line.is_empty(),
                "{}:{number}: code without an end",
                self.path.display()
            );
        }
        found
    }

    /// Returns the rows of the first table below the heading, with trimmed cells and without the head.
    pub(crate) fn table(&self, heading: &str) -> Vec<Vec<String>> {
        let below = self
            .prose
            .iter()
            .map(|(_, line)| line.as_str())
            .skip_while(|line| *line != heading);
        let rows: Vec<Vec<String>> = below
            .skip(1)
            .take_while(|line| !line.starts_with("## "))
            .skip_while(|line| !line.starts_with('|'))
            .take_while(|line| line.starts_with('|'))
            .map(cells)
            .collect();
        assert!(
            rows.len() > 2,
            "{}: no table below `{heading}`",
            self.path.display()
        );
        rows[2..].to_vec()
    }
}

/// Returns the cells of a row. A `|` in inline code belongs to the code.
fn cells(row: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut in_code = false;
    for letter in row.trim_matches('|').chars() {
        in_code ^= letter == '`';
        if letter == '|' && !in_code {
            cells.push(String::new());
        } else {
            cells.last_mut().unwrap().push(letter);
        }
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

fn without_code(line: &str) -> String {
    // The text of a link may be code. Only the link's target matters here.
    line.split('`')
        .enumerate()
        .map(|(index, piece)| if index % 2 == 0 { piece } else { "" })
        .collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
