//! Figures as people read them: with a unit, and with no more digits than they are worth.

/// Microseconds: `850 µs`, `1.72 ms`, `12.3 s`.
pub fn latency(us: f64) -> String {
    if us > 0.0 && us < 10.0 {
        format!("{} µs", digits(us))
    } else if us < 1_000.0 {
        format!("{us:.0} µs")
    } else if us < 999_500.0 {
        format!("{} ms", digits(us / 1e3))
    } else {
        format!("{} s", digits(us / 1e6))
    }
}

/// Seconds of processor time: `3.21 s`, `0.85 s`, `1.52 µs`.
pub fn seconds(s: f64) -> String {
    if s > 0.0 && s < 1e-3 { latency(s * 1e6) } else { format!("{} s", digits(s)) }
}

/// Bytes: `512 B`, `29.0 KiB`, `1.25 GiB`.
pub fn bytes(bytes: f64) -> String {
    let (mut value, mut unit) = (bytes, "B");
    for next in ["KiB", "MiB", "GiB"] {
        if value.abs() < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" { format!("{value:.0} B") } else { format!("{} {unit}", digits(value)) }
}

/// So many a second: `38,412/s`, `4.50/s`.
pub fn rate(per_s: f64) -> String {
    if per_s.abs() < 100.0 { format!("{}/s", digits(per_s)) } else { format!("{}/s", count(per_s.round() as u64)) }
}

/// So many bytes a second, in decimal units as rates of lines are told: `16.0 kB/s`.
pub fn byte_rate(per_s: f64) -> String {
    if per_s < 1e3 {
        format!("{per_s:.0} B/s")
    } else if per_s < 999_500.0 {
        format!("{} kB/s", digits(per_s / 1e3))
    } else {
        format!("{} MB/s", digits(per_s / 1e6))
    }
}

/// A number with its thousands set apart: `1,234,567`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share of 1 as per cent: `41 %`.
pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A ratio: `6.21×`, `0.80×`, `12.4×`, `0.0016×`.
pub fn ratio(ratio: f64) -> String {
    if ratio > 0.0 && ratio < 0.1 { format!("{ratio:.4}×") } else { format!("{}×", digits(ratio)) }
}

/// So many of a thing, `user` or `users`.
pub fn number_of(number: usize, one: &str) -> String {
    format!("{} {one}{}", count(number as u64), if number == 1 { "" } else { "s" })
}

/// Text on one line of a terminal: what would move the cursor or end the line becomes a space.
pub fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Three significant digits, but never fewer than two behind the point below ten.
fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        below if below < 9.995 => format!("{value:.2}"),
        below if below < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_has_the_unit_that_fits() {
        for (us, said) in [
            (0.0, "0 µs"),
            (999.0, "999 µs"),
            (1_000.0, "1.00 ms"),
            (1_720.0, "1.72 ms"),
            (31_400.0, "31.4 ms"),
            (999_499.0, "999 ms"),
            (999_500.0, "1.00 s"),
            (12_340_000.0, "12.3 s"),
        ] {
            assert_eq!(latency(us), said);
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, said) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(count(number), said);
        }
        assert_eq!((rate(38_412.4), rate(4.5)), ("38,412/s".into(), "4.50/s".into()));
    }

    #[test]
    fn rates_of_lines_are_decimal() {
        for (per_s, said) in [(0.0, "0 B/s"), (999.0, "999 B/s"), (16_000.0, "16.0 kB/s"), (1_250_000.0, "1.25 MB/s")] {
            assert_eq!(byte_rate(per_s), said);
        }
    }

    #[test]
    fn bytes_are_binary() {
        for (number, said) in
            [(512.0, "512 B"), (1_024.0, "1.00 KiB"), (29_696.0, "29.0 KiB"), (209_715_200.0, "200 MiB")]
        {
            assert_eq!(bytes(number), said);
        }
    }

    #[test]
    fn small_figures_keep_two_digits_behind_the_point() {
        assert_eq!((seconds(3.214), seconds(0.0)), ("3.21 s".into(), "0 s".into()));
        assert_eq!((ratio(0.8), ratio(6.214), ratio(12.36)), ("0.80×".into(), "6.21×".into(), "12.4×".into()));
        assert_eq!(ratio(0.001_61), "0.0016×");
        assert_eq!((number_of(1, "user"), number_of(5_000, "user")), ("1 user".into(), "5,000 users".into()));
        assert_eq!(line("a\n\u{1b}[31mb"), "a  [31mb");
        assert_eq!(percent(0.414), "41 %");
    }
}
