//! As `unicast`, and one receiver in ten takes less than it is sent, or one user's clients misbehave. The others must not notice.
//!
//! It runs several times in a row on one server, each with the same traffic, and only what the tenth does with theirs differs: so
//! the others' latencies can be compared. Everybody is undisturbed the first time.

use super::unicast;
use crate::{
    beside::{Beside, Misbehaving, Stream},
    fault::Fault,
    ground::Ground,
    measured::Measured,
    pick::Pick,
    receivers::{Device, Manner},
    results::Latency,
    settings::Settings,
    stream::{self, Shape},
    units,
};

/// Every so many receivers one is slow.
const SLOW_EVERY: usize = 10;
/// What a slow receiver is taken to read where no rate is given.
const USUAL_BYTES_PER_S: u64 = 16_000;
/// A slow receiver is sent so many times what it reads.
const TIMES_TOO_MUCH: f64 = 2.0;
/// In about so many events a second, as far as an event can be that long.
const EVENTS_PER_S: f64 = 8.0;
const LONGEST_BYTES: f64 = 32_000.0;
const SHORTEST_BYTES: f64 = 400.0;
/// Events a second for the user whose clients misbehave.
const FOR_MISBEHAVING_PER_S: f64 = 20.0;

/// Open loop, so that a delay of the others shows.
pub fn defaults() -> Settings {
    Settings { rate: Some(2_000.0), ..unicast::defaults() }
}

/// What disturbs the others, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Undisturbed,
    Slow(u64),
    Stalled,
    Misbehaving(usize),
}

impl Phase {
    fn all(settings: &Settings) -> Vec<Self> {
        let slow = settings.slow_rate.filter(|rate| *rate > 0).map(Self::Slow);
        let misbehaving = Some(settings.misbehaving).filter(|clients| *clients > 0).map(Self::Misbehaving);
        [Some(Self::Undisturbed), slow, Some(Self::Stalled), misbehaving].into_iter().flatten().collect()
    }

    fn words(self, slow: usize) -> String {
        match self {
            Self::Undisturbed => "undisturbed".to_owned(),
            Self::Slow(bytes_per_s) => format!("beside {slow} reading {}", units::byte_rate(bytes_per_s as f64)),
            Self::Stalled => format!("beside {slow} stalled"),
            Self::Misbehaving(clients) => format!("beside {clients} misbehaving"),
        }
    }

    fn shape(self, settings: &Settings) -> Shape {
        let slow = slow(settings);
        let others = settings.connections - slow;
        let manner = match self {
            Self::Undisturbed | Self::Misbehaving(_) => Manner::Unheeded,
            Self::Slow(bytes_per_s) => Manner::AtRate(bytes_per_s),
            Self::Stalled => Manner::AtRate(0),
        };
        let device = |user: usize| {
            let manner = if user < others { Manner::Plain } else { manner };
            Device { user: user as u32, manner }
        };
        let mut beside = Beside { streams: vec![too_much(settings, others..others + slow)], misbehaving: None };
        let mut users = settings.connections;
        if let Self::Misbehaving(clients) = self {
            let user = users;
            users += 1;
            let theirs =
                Stream { users: user..users, per_s: FOR_MISBEHAVING_PER_S, payload_bytes: settings.payload_bytes };
            beside.streams.push(theirs);
            beside.misbehaving = Some(Misbehaving { user: user as u32, clients });
        }
        let devices = (0..settings.connections).map(device).collect();
        Shape { name: "slow", devices, pick: Pick::in_turn(others), late: Vec::new(), users, beside }
    }
}

/// How many receivers are slow; always one, and never all.
fn slow(settings: &Settings) -> usize {
    (settings.connections / SLOW_EVERY).max(1)
}

/// What the slow ones are sent.
fn too_much(settings: &Settings, users: std::ops::Range<usize>) -> Stream {
    let rate = settings.slow_rate.filter(|rate| *rate > 0).unwrap_or(USUAL_BYTES_PER_S);
    let bytes_per_s = rate as f64 * TIMES_TOO_MUCH;
    let payload = (bytes_per_s / EVENTS_PER_S).clamp(SHORTEST_BYTES, LONGEST_BYTES);
    let per_s = bytes_per_s / payload * users.len() as f64;
    Stream { users, per_s, payload_bytes: payload as usize }
}

/// How many connections are open at a time, beside the receivers'.
pub fn further_connections(settings: &Settings) -> usize {
    let most = Phase::all(settings).into_iter().map(|phase| phase.shape(settings).beside.connections()).max();
    most.unwrap_or_default()
}

/// Lets it happen.
///
/// # Errors
/// Where it cannot be carried out, or where there is nobody left to be disturbed.
pub async fn run(ground: &Ground, settings: &Settings) -> Result<Measured, Fault> {
    if settings.connections < 2 {
        return Err(Fault::Nothing("slow needs at least two connections: a slow one and another".to_owned()));
    }
    let slow = slow(settings);
    let mut whole: Option<Measured> = None;
    let (mut undisturbed, mut worst) = (Latency::default(), None);
    for phase in Phase::all(settings) {
        let words = phase.words(slow);
        let mut measured = stream::run(ground, settings, phase.shape(settings)).await?;
        let mut told = vec![format!("p99 {}", units::latency(measured.latency.p99_us as f64))];
        if phase == Phase::Undisturbed {
            undisturbed = measured.latency.clone();
        } else if undisturbed.p99_us > 0 {
            let ratio = measured.latency.p99_us as f64 / undisturbed.p99_us as f64;
            told.push(format!("{} the undisturbed", units::ratio(ratio)));
            if worst.as_ref().is_none_or(|(worst, _): &(f64, Latency)| ratio > *worst) {
                worst = Some((ratio, measured.latency.clone()));
            }
        }
        told.push(format!("{} of the others' events refused", measured.counts.refused));
        told.append(&mut measured.beside);
        measured.notes.push((words.clone(), told.join(", ")));
        for latency in std::iter::once(&mut measured.latency).chain(&mut measured.further) {
            latency.of = format!("{} {words}", latency.of);
        }
        measured.failures.iter_mut().chain(&mut measured.warnings).for_each(|said| *said = format!("{words}: {said}"));
        measured.further.insert(0, measured.latency.clone());
        match &mut whole {
            Some(whole) => whole.append(measured),
            None => whole = Some(measured),
        }
    }
    let mut whole = whole.ok_or_else(|| Fault::Nothing("there was nothing to do".to_owned()))?;
    if let Some((_, latency)) = worst {
        whole.latency = Latency { of: "delivery, where it was disturbed most".to_owned(), ..latency };
    }
    Ok(whole)
}
