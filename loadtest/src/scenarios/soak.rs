//! As `unicast`, gently and for long: does the server's memory stay where it is?

use super::unicast;
use crate::{
    fault::Fault, ground::Ground, measured::Measured, receivers::Manner, results::Second, settings::Settings, stream,
};

/// More growth than this is worth a warning.
const GROWTH_MOST: f64 = 0.05;
/// Fewer seconds say nothing.
const SECONDS_LEAST: usize = 20;

/// Ten minutes at 1,000 events a second.
pub fn defaults() -> Settings {
    let duration = std::time::Duration::from_secs(600);
    Settings { rate: Some(1_000.0), duration, ..unicast::defaults() }
}

/// Lets it happen.
///
/// # Errors
/// Where it cannot be carried out.
pub async fn run(ground: &Ground, settings: &Settings) -> Result<Measured, Fault> {
    let shape = unicast::shape("soak", settings.connections, Manner::Plain);
    let mut measured = stream::run(ground, settings, shape).await?;
    if let Some((first, last)) = ends(&measured.series) {
        let growth = last / first - 1.0;
        let told = format!(
            "{:.1} MiB in the first tenth, {:.1} MiB in the last ({:+.1} %)",
            mib(first),
            mib(last),
            growth * 100.0
        );
        if growth > GROWTH_MOST {
            measured.warnings.push(format!("the server's memory has grown: {told}"));
        }
        measured.notes.push(("memory".to_owned(), told));
    }
    Ok(measured)
}

/// The mean memory in the first and the last tenth.
fn ends(series: &[Second]) -> Option<(f64, f64)> {
    let sizes: Vec<_> = series.iter().filter_map(|second| second.server_rss_bytes).collect();
    if sizes.len() < SECONDS_LEAST {
        return None;
    }
    let tenth = sizes.len() / 10;
    let mean = |sizes: &[u64]| sizes.iter().sum::<u64>() as f64 / sizes.len() as f64;
    Some((mean(&sizes[..tenth]), mean(&sizes[sizes.len() - tenth..])))
}

fn mib(bytes: f64) -> f64 {
    bytes / 1_048_576.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_between_the_first_and_the_last_tenth() {
        let second = |rss| Second { server_rss_bytes: Some(rss), ..Second::default() };
        let series: Vec<_> = (0..40).map(|at| second(if at < 20 { 100 } else { 120 })).collect();
        assert_eq!(ends(&series), Some((100.0, 120.0)));
        assert_eq!(ends(&series[..10]), None);
    }
}
