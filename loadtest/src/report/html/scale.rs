//! Axes: from values to places, and where the marks go. Knows nothing of drawing.

/// How values lie along an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    /// Evenly, from 0 to this.
    Linear { to: f64 },
    /// The same with marks on powers of two: bytes.
    Binary { to: f64 },
    /// Each decade as long as the next, between these.
    Log { from: f64, to: f64 },
    /// Shares below 1, each further nine as long as the one before; the last `nines` can be a broken one.
    Percentile { nines: f64 },
}

impl Scale {
    /// From 0 to at least the greatest of the values.
    pub(super) fn linear(values: impl Iterator<Item = f64>) -> Self {
        let greatest = values.fold(0.0, f64::max);
        Self::Linear { to: if greatest > 0.0 { greatest * 1.05 } else { 1.0 } }
    }

    /// The same for bytes.
    pub(super) fn binary(values: impl Iterator<Item = f64>) -> Self {
        match Self::linear(values) {
            Self::Linear { to } => Self::Binary { to },
            other => other,
        }
    }

    /// Around the values that are above 0, ending on numbers that begin with 1, 2 or 5.
    pub(super) fn log(values: impl Iterator<Item = f64>) -> Self {
        let (least, greatest) = values
            .filter(|value| *value > 0.0)
            .fold((f64::INFINITY, 0.0), |(a, b), value| (value.min(a), value.max(b)));
        if greatest == 0.0 {
            return Self::Log { from: 1.0, to: 10.0 };
        }
        let steps = || decades(least / 10.0, greatest * 10.0, &[1.0, 2.0, 5.0]);
        let from = steps().into_iter().rfind(|step| *step <= least).unwrap_or(least);
        let to = steps().into_iter().find(|step| *step > greatest).unwrap_or(greatest);
        Self::Log { from, to }
    }

    /// The place of a value, between 0 and 1.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { to } | Self::Binary { to } => value / to,
            Self::Log { from, to } => (value.max(from) / from).ln() / (to / from).ln(),
            Self::Percentile { nines } => -(1.0 - value).max(1e-12).log10() / nines,
        };
        place.clamp(0.0, 1.0)
    }

    /// Where marks help, in ascending order.
    pub(super) fn marks(self) -> Vec<f64> {
        match self {
            Self::Linear { to } => multiples(round_up(to / 5.0), to),
            Self::Binary { to } => multiples((to / 5.0).log2().ceil().exp2(), to),
            Self::Log { from, to } => {
                let fine = decades(from, to, &[1.0, 2.0, 5.0]);
                if fine.len() > 7 { decades(from, to, &[1.0]) } else { fine }
            }
            Self::Percentile { nines } => {
                let shares = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999_999];
                shares.into_iter().filter(|share| -(1.0f64 - share).log10() <= nines + 1e-9).collect()
            }
        }
    }
}

fn multiples(step: f64, to: f64) -> Vec<f64> {
    (0..).map(|at| f64::from(at) * step).take_while(|mark| *mark <= to).collect()
}

/// The numbers of these first digits between two bounds.
fn decades(from: f64, to: f64, digits: &[f64]) -> Vec<f64> {
    let exponents = from.log10().floor() as i32..=to.log10().ceil() as i32;
    let numbers = exponents.flat_map(|exponent| digits.iter().map(move |digit| digit * 10f64.powi(exponent)));
    numbers.filter(|number| (from * 0.999..=to * 1.001).contains(number)).collect()
}

/// The next number that begins with 1, 2 or 5.
fn round_up(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * decade).find(|step| *step >= value * 0.999).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_begins_at_nothing_and_has_room_for_the_greatest() {
        let scale = Scale::linear([3.0, 19_987.0].into_iter());
        assert_eq!(scale.place(0.0), 0.0);
        assert!((0.9..1.0).contains(&scale.place(19_987.0)));
        assert_eq!(scale.marks(), [0.0, 5_000.0, 10_000.0, 15_000.0, 20_000.0]);
        assert_eq!(Scale::linear([0.0].into_iter()).place(0.0), 0.0);
        let mib = 1024.0 * 1024.0;
        let marks = Scale::binary([150.0 * mib].into_iter()).marks();
        assert_eq!(marks, [0.0, 32.0, 64.0, 96.0, 128.0].map(|mark| mark * mib));
    }

    #[test]
    fn a_logarithmic_axis_gives_each_decade_the_same_length() {
        let scale = Scale::log([610.0, 8_300.0].into_iter());
        assert_eq!(scale, Scale::Log { from: 500.0, to: 10_000.0 });
        assert_eq!(scale.marks(), [500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0]);
        let wide = Scale::log([1.0, 3_200_000.0].into_iter());
        let length = wide.place(1_000.0) - wide.place(100.0);
        assert!((length - (wide.place(100_000.0) - wide.place(10_000.0))).abs() < 1e-9);
        assert_eq!(wide.marks(), [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]);
        assert_eq!(Scale::log([0.0].into_iter()).place(0.0), 0.0);
    }

    #[test]
    fn each_further_nine_is_as_long_as_the_one_before() {
        let scale = Scale::Percentile { nines: 4.0 };
        for (share, place) in [(0.0, 0.0), (0.9, 0.25), (0.99, 0.5), (0.9999, 1.0), (1.0, 1.0)] {
            assert!((scale.place(share) - place).abs() < 1e-9, "{share}");
        }
        assert_eq!(scale.marks(), [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999]);
    }
}
