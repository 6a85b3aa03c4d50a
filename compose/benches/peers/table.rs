//! Times, and the table that shows them.

use std::time::Duration;

/// What one contestant needed for one piece of work.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) times: Vec<Duration>,
    /// Bytes or files in the work, for a rate.
    pub(crate) amount: Option<(f64, &'static str)>,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), times: Vec::new(), amount: None }
    }

    pub(crate) fn of(name: impl Into<String>, times: Vec<Duration>) -> Self {
        Self { times, ..Self::new(name) }
    }

    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.times.clone();
        sorted.sort();
        let last = sorted.len().saturating_sub(1);
        sorted.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> Duration {
        self.quantile(0.5)
    }
}

/// Prints one piece of work: the first row is ours, to which the others are set in relation.
pub(crate) fn print(place: &str, title: &str, rows: &[Row]) {
    println!("\n{title}, on {place}");
    println!("  {:<48} {:>12} {:>12} {:>12} {:>12}  {:>9}  rate", "", "median", "min", "max", "p99", "to ours");
    let ours = rows.first().map(Row::median).unwrap_or_default().as_secs_f64();
    for row in rows {
        if row.times.is_empty() {
            println!("  {:<48} {:>12}", row.name, "not measured");
            continue;
        }
        let median = row.median();
        let rate = row.amount.map_or_else(String::new, |(amount, unit)| {
            format!("{:.0} {unit}/s", amount / median.as_secs_f64().max(1e-9))
        });
        println!(
            "  {:<48} {:>12} {:>12} {:>12} {:>12}  {:>8.2}x  {rate}",
            row.name,
            show(median),
            show(row.quantile(0.0)),
            show(row.quantile(1.0)),
            show(row.quantile(0.99)),
            median.as_secs_f64() / ours.max(1e-9),
        );
    }
}

/// Prints whether a target is met.
pub(crate) fn verdict(target: &str, met: bool, measured: &str) {
    println!("  {} {target}: {measured}", if met { "met   " } else { "MISSED" });
}

fn show(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match time.as_micros() {
        0..1_000 => format!("{:.1} µs", seconds * 1e6),
        1_000..1_000_000 => format!("{:.2} ms", seconds * 1e3),
        _ => format!("{seconds:.2} s"),
    }
}
