//! Assertions on a run, such as `p99<20ms`: read, and judged.

use std::{cmp::Ordering, str::FromStr};

use crate::{
    figure::{Figure, Kind},
    results::{Assertion, Results},
};

/// The operators; the longer ones first, so that none is taken for the beginning of another.
const OPERATORS: [(&str, Operator); 6] = [
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    ("<", Operator::Less),
    (">", Operator::More),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
    Unequal,
}

impl Operator {
    const fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
            Self::More => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
            Self::Equal => ordering.is_eq(),
            Self::Unequal => ordering.is_ne(),
        }
    }
}

/// What must hold of a run: `FIGURE OPERATOR VALUE`, with spaces where one likes.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    text: String,
    figure: Figure,
    operator: Operator,
    /// In the unit of the figure's kind.
    bound: f64,
}

/// Why a text is no assertion. Each names the culprit, and what would have been right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It has no operator.
    #[error("no operator in {0:?}; there are <, <=, >, >=, == and !=")]
    Operator(String),
    /// What stands before the operator is no figure.
    #[error("no figure {0:?}; there are {known}", known = known())]
    Figure(String),
    /// What stands behind the operator is no number.
    #[error("no number {0:?} behind the operator")]
    Number(String),
    /// The number's unit is not one of the figure's.
    #[error("{figure} has no unit {unit:?}; it takes {takes}")]
    Unit {
        /// The figure.
        figure: Figure,
        /// What stands behind the number.
        unit: String,
        /// What may stand there.
        takes: &'static str,
    },
    /// The figure needs a unit and has none.
    #[error("{figure} needs a unit: {takes}")]
    NoUnit {
        /// The figure.
        figure: Figure,
        /// What may stand behind the number.
        takes: &'static str,
    },
}

fn known() -> String {
    Figure::ALL.map(Figure::name).join(", ")
}

impl FromStr for Expectation {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let at = text.find(['<', '>', '=', '!']).ok_or_else(|| Unreadable::Operator(text.to_owned()))?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let (sign, operator) = OPERATORS
            .into_iter()
            .find(|(sign, _)| rest.starts_with(sign))
            .ok_or_else(|| Unreadable::Operator(text.to_owned()))?;
        let figure = Figure::named(name).ok_or_else(|| Unreadable::Figure(name.to_owned()))?;
        let bound = bound(figure, rest[sign.len()..].trim())?;
        Ok(Self { text: text.trim().to_owned(), figure, operator, bound })
    }
}

/// A number with its unit, in the unit of the figure's kind.
fn bound(figure: Figure, value: &str) -> Result<f64, Unreadable> {
    let end = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
    let (number, unit) = (&value[..end], value[end..].trim());
    let number: f64 = number.parse().map_err(|_| Unreadable::Number(value.to_owned()))?;
    let (units, takes): (&[(&str, f64)], _) = match figure.kind() {
        Kind::Latency => (&[("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)], "us, ms or s"),
        Kind::Seconds => (&[("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)], "us, ms or s"),
        Kind::Bytes => (&[("kib", 1024.0), ("mib", 1024.0 * 1024.0)], "kib or mib"),
        Kind::Rate => (&[("", 1.0), ("/s", 1.0)], "none, or /s"),
        Kind::Count => (&[("", 1.0)], "none"),
    };
    let lower = unit.to_lowercase();
    match units.iter().find(|(name, _)| *name == lower) {
        Some((_, factor)) => Ok(number * factor),
        None if unit.is_empty() => Err(Unreadable::NoUnit { figure, takes }),
        None => Err(Unreadable::Unit { figure, unit: unit.to_owned(), takes }),
    }
}

impl Expectation {
    /// Whether it holds of these results; not where the figure was not measured.
    pub fn judge(&self, results: &Results) -> Assertion {
        let actual = self.figure.of(results);
        let ordering = actual.and_then(|actual| actual.partial_cmp(&self.bound));
        Assertion {
            text: self.text.clone(),
            holds: ordering.is_some_and(|ordering| self.operator.holds(ordering)),
            actual: actual.map_or_else(|| "not measured".to_owned(), |actual| self.figure.show(actual)),
        }
    }
}

/// Judges each, and writes what came of it into the verdict: one that fails makes it a failed one.
pub fn judge_all(expectations: &[Expectation], results: &mut Results) {
    for expectation in expectations {
        let assertion = expectation.judge(results);
        if !assertion.holds {
            results.verdict.passed = false;
            results.verdict.failures.push(format!("{}: {}", assertion.text, assertion.actual));
        }
        results.verdict.assertions.push(assertion);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn holds(text: &str) -> bool {
        let expectation: Expectation = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        expectation.judge(&sample::good()).holds
    }

    #[test]
    fn each_operator_and_each_unit_judges_on_both_sides_of_the_bound() {
        // In the sample p99 is 1,720 µs, the CPU 3.21 s, the memory 29 KiB, the rate 19,987.
        for (right, wrong) in [
            ("p99<1.73ms", "p99<1720us"),
            ("p99<=1720us", "p99<=1719us"),
            ("p99>0.00171s", "p99>1.72ms"),
            ("p99>=1.72ms", "p99>=1721us"),
            ("p99 == 1720 us", "p99==1.71ms"),
            ("p99!=1ms", "p99!=1.72ms"),
            ("p50<1ms", "p50<100us"),
            ("p90<2ms", "p90<1ms"),
            ("p999 < 10ms", "p999<1ms"),
            ("max<1s", "max<1ms"),
            ("missing==0", "missing>0"),
            ("duplicated==0", "duplicated!=0"),
            ("refused<1", "refused>=1"),
            ("rate>=19900", "rate>=20000/s"),
            ("accepted_rate>19986", "accepted_rate>19987"),
            ("cpu_per_100k<3.3s", "cpu_per_100k<3200ms"),
            ("rss_per_connection<=30KiB", "rss_per_connection<28kib"),
            ("rss_per_connection<1MiB", "rss_per_connection>1mib"),
        ] {
            assert!(holds(right), "{right}");
            assert!(!holds(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_bad_expression_is_refused_and_the_culprit_named() {
        for (text, named) in [
            (
                "p98<20ms",
                "no figure \"p98\"; there are rate, accepted_rate, p50, p90, p99, p999, max, missing, duplicated, refused, cpu_per_100k, rss_per_connection, idle_cpu, kernel_per_connection",
            ),
            ("<20ms", "no figure \"\""),
            ("p99", "no operator in \"p99\"; there are <, <=, >, >=, == and !="),
            ("p99=20ms", "no operator in \"p99=20ms\""),
            ("", "no operator in \"\""),
            ("p99<", "no number \"\""),
            ("p99<fast", "no number \"fast\""),
            ("p99<-1ms", "no number \"-1ms\""),
            ("p99<1.2.3ms", "no number \"1.2.3ms\""),
            ("p99<NaNms", "no number \"NaNms\""),
            ("p99<==1ms", "no number \"=1ms\""),
            ("p99<20", "p99 needs a unit: us, ms or s"),
            ("p99<20kib", "p99 has no unit \"kib\"; it takes us, ms or s"),
            ("missing==0ms", "missing has no unit \"ms\"; it takes none"),
            ("rss_per_connection<30", "rss_per_connection needs a unit: kib or mib"),
        ] {
            let error = text.parse::<Expectation>().expect_err("it is nonsense").to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        let mut results = sample::good();
        results.latency.count = 0;
        results.resources.server_cpu_s_per_100k = None;
        for text in ["p99<20ms", "p99!=20ms", "cpu_per_100k<9s"] {
            let expectation: Expectation = text.parse().expect("it is right");
            let judged = expectation.judge(&results);
            assert_eq!((judged.holds, judged.actual.as_str()), (false, "not measured"), "{text}");
        }
    }

    #[test]
    fn one_that_fails_fails_the_run() {
        let read = |texts: &[&str]| texts.iter().map(|it| it.parse().expect("it is right")).collect::<Vec<_>>();
        let mut results = sample::good();
        results.verdict.assertions.clear();
        judge_all(&read(&["p99<20ms", "missing==0"]), &mut results);
        assert!(results.verdict.passed && results.verdict.assertions.len() == 2);
        judge_all(&read(&["p99<1ms"]), &mut results);
        assert!(!results.verdict.passed);
        assert_eq!(results.verdict.failures, ["p99<1ms: 1.72 ms"]);
    }
}
