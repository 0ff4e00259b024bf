//! The exit codes: they are part of the suite's interface, and written down here alone.

use std::fmt::Display;

use crate::event::Conformance;

/// Everything that applies has passed, but for what the baseline knows.
pub const CONFORMANT: u8 = 0;
/// Something failed, or a baseline entry does not hold.
pub const NOT_CONFORMANT: u8 = 1;
/// The command line is wrong, or no case matches it.
pub const USAGE: u8 = 2;
/// The run itself failed: no verdict.
pub const NO_VERDICT: u8 = 3;

/// The exit code of a verdict.
pub fn code(conformance: Conformance) -> u8 {
    match conformance {
        Conformance::Conformant | Conformance::ConformantButKnown => CONFORMANT,
        Conformance::NotConformant => NOT_CONFORMANT,
        Conformance::Inconclusive => NO_VERDICT,
    }
}

/// Says what is wrong with the command line.
pub fn usage(why: &dyn Display) -> u8 {
    eprintln!("error: {why}");
    USAGE
}

/// Says why there is no verdict.
pub fn no_verdict(why: &dyn Display) -> u8 {
    eprintln!("error: {why}\n  → NO VERDICT");
    NO_VERDICT
}
