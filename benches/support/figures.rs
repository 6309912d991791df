//! Figures of one interleaved run. The ratio to a peer is the median of the ratios within each round, because a noisy
//! neighbour disturbs every target of a round alike.

use std::fmt::Write as _;

/// One quantity, measured for several targets over the rounds.
pub struct Figure {
    title: String,
    unit: &'static str,
    rows: Vec<(String, Vec<f64>)>,
}

impl Figure {
    pub fn new(title: impl Into<String>, unit: &'static str) -> Self {
        Self {
            title: title.into(),
            unit,
            rows: Vec::new(),
        }
    }

    /// Sets the order of the rows, independent of the order of measurement.
    pub fn rows<'a>(mut self, targets: impl IntoIterator<Item = &'a str>) -> Self {
        self.rows = targets
            .into_iter()
            .map(|target| (target.to_owned(), Vec::new()))
            .collect();
        self
    }

    /// Adds a target's value in one round.
    pub fn add(&mut self, target: &str, value: f64) {
        match self.rows.iter_mut().find(|(name, _)| name == target) {
            Some((_, values)) => values.push(value),
            None => self.rows.push((target.to_owned(), vec![value])),
        }
    }

    /// Returns the median of a target.
    pub fn median(&self, target: &str) -> f64 {
        median(self.values(target).to_vec())
    }

    /// Returns the median of the rounds' ratios.
    pub fn ratio(&self, target: &str, peer: &str) -> f64 {
        median(
            self.values(target)
                .iter()
                .zip(self.values(peer))
                .map(|(one, other)| one / other)
                .collect(),
        )
    }

    /// Returns the median of the rounds' differences.
    pub fn difference(&self, target: &str, peer: &str) -> f64 {
        median(
            self.values(target)
                .iter()
                .zip(self.values(peer))
                .map(|(one, other)| one - other)
                .collect(),
        )
    }

    /// Returns whether the target was measured.
    pub fn has(&self, target: &str) -> bool {
        self.rows.iter().any(|(name, _)| name == target)
    }

    fn values(&self, target: &str) -> &[f64] {
        &self
            .rows
            .iter()
            .find(|(name, _)| name == target)
            .unwrap_or_else(|| panic!("no `{target}`"))
            .1
    }

    /// Prints a Markdown table with each target and its ratio to each measured peer.
    pub fn print(&self, peers: &[&str]) {
        let peers: Vec<_> = peers.iter().filter(|peer| self.has(peer)).collect();
        let mut text = format!("## {}\n\n| | {}, median | least .. most |", self.title, self.unit);
        for peer in &peers {
            write!(text, " / {peer} |").unwrap();
        }
        write!(text, "\n|---|---|---|{}\n", "---|".repeat(peers.len())).unwrap();
        for (target, values) in &self.rows {
            let (least, most) = (
                values.iter().copied().fold(f64::MAX, f64::min),
                values.iter().copied().fold(0.0, f64::max),
            );
            write!(
                text,
                "| {target} | {} | {} .. {} |",
                short(self.median(target)),
                short(least),
                short(most)
            )
            .unwrap();
            for peer in &peers {
                write!(text, " {:.2} |", self.ratio(target, peer)).unwrap();
            }
            text.push('\n');
        }
        println!("{text}");
    }
}

/// Prints a goal and whether this run meets it.
pub fn goal(what: &str, value: f64, most: f64, unit: &str) {
    let verdict = if value <= most { "holds" } else { "MISSED" };
    println!(
        "goal {verdict}: {what}: {} of at most {}{unit}\n",
        short(value),
        short(most)
    );
}

pub fn median(mut values: Vec<f64>) -> f64 {
    quantile(&mut values, 0.5)
}

/// Returns the quantile of the values, interpolated between the two nearest.
pub fn quantile(values: &mut [f64], part: f64) -> f64 {
    assert!(!values.is_empty(), "no values");
    values.sort_by(f64::total_cmp);
    let place = part * (values.len() - 1) as f64;
    let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

fn short(value: f64) -> String {
    match value.abs() {
        small if small < 10.0 => format!("{value:.2}"),
        middle if middle < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
