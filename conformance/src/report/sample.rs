//! A run that never was, with every kind of result in it, for the tests of the reports.

use std::time::Duration;

use super::record::Record;
use crate::{
    cases,
    event::{CaseResult, EntryFault, Known, RunEvent, StaleEntry, Summary, Verdict},
    flake::Flakes,
    transcript::Line,
};

/// Text that is trouble in XML, HTML, Markdown, JSON and workflow commands alike.
pub(super) const TROUBLE: &str = "<script>alert('x')</script> & \"q\" `code` ``` | a:b,c%0A ]]> \u{0}\u{1b}[31m\u{fffe} é😀\r\n::error::forged\n# head";

/// The run's events.
pub(super) fn events() -> Vec<RunEvent> {
    let failed = |actual: &str| Verdict::Failed { expected: "50 events, 1 … 50".into(), actual: actual.into() };
    let results = vec![
        result("QUEUE-03/exactly-50", 1, failed(TROUBLE)),
        result("QUEUE-03/exactly-50", 2, Verdict::Passed),
        result("QUEUE-03/oldest-evicted", 1, Verdict::Passed),
        result("QUEUE-06/expires", 1, Verdict::NotRun { reason: TROUBLE.into() }),
        result("QUEUE-15/corrupt", 1, Verdict::NotApplicable { reason: TROUBLE.into() }),
        result("AUTH-08/expired", 1, Verdict::Passed),
    ];
    let mut events = vec![
        RunEvent::Ready("redis", "7.2".into(), Duration::from_millis(500)),
        RunEvent::Remark(format!("remark {TROUBLE}")),
        RunEvent::Planned(results.len()),
    ];
    let mut summary = summary();
    for result in results {
        summary.count_mut(result.case.level()).add(&result.verdict);
        events.push(RunEvent::Finished(Box::new(result)));
    }
    summary.decide();
    events.push(RunEvent::Ended(Box::new(summary)));
    events
}

/// A run with repetitions and a baseline: one case is known to fail, one flakes, one passes though an entry says otherwise.
pub(super) fn events_with_baseline() -> Vec<RunEvent> {
    let failed = Verdict::Failed { expected: "50 events".into(), actual: "49 events".into() };
    let results = [
        result("QUEUE-03/exactly-50", 1, failed),
        result("QUEUE-03/exactly-50", 2, Verdict::Passed),
        result("QUEUE-12/nothing", 1, known_failing()),
        result("QUEUE-12/nothing", 2, known_failing()),
        result("AUTH-08/expired", 1, Verdict::Passed),
        result("AUTH-08/expired", 2, Verdict::Passed),
    ];
    let flakes = Flakes::of([("QUEUE-03/exactly-50", 1, 2), ("QUEUE-12/nothing", 2, 2), ("AUTH-08/expired", 0, 2)]);
    let entry = |id: &str, fault| StaleEntry { id: id.into(), owner: TROUBLE.into(), fault };
    let mut summary = Summary {
        repeat: 2,
        flaky: vec!["QUEUE-03/exactly-50".into()],
        flakes: Some(flakes),
        stale: vec![
            entry("AUTH-08/expired", EntryFault::Passes),
            entry("QUEUE-15/corrupt", EntryFault::Expired { expires: "2026-01-31".into() }),
        ],
        ..summary()
    };
    let mut events = Vec::new();
    for result in results {
        summary.count_mut(result.case.level()).add(&result.verdict);
        events.push(RunEvent::Finished(Box::new(result)));
    }
    summary.decide();
    events.push(RunEvent::Ended(Box::new(summary)));
    events
}

/// A failure that a baseline knows.
pub(super) fn known_failing() -> Verdict {
    let known = Known { reason: format!("reason {TROUBLE}"), owner: "team-b".into(), expires: "2026-12-31".into() };
    Verdict::KnownFailing { expected: "no event".into(), actual: "an event".into(), known }
}

/// The record of these events.
pub(super) fn record_of(events: &[RunEvent]) -> Record {
    let mut record = Record::new(&format!("target {TROUBLE}"), 0x7f3a);
    events.iter().for_each(|event| record.show(event));
    record
}

/// The record of a run that ended as these verdicts say.
pub(super) fn record_with(verdicts: &[Verdict]) -> Record {
    let mut record = Record::new("sample", 0x7f3a);
    let mut summary = summary();
    for (case, verdict) in cases::all().iter().zip(verdicts) {
        let result = result(case.id, 1, verdict.clone());
        summary.count_mut(result.case.level()).add(verdict);
        record.show(&RunEvent::Finished(Box::new(result)));
    }
    summary.decide();
    record.show(&RunEvent::Ended(Box::new(summary)));
    record
}

fn summary() -> Summary {
    Summary { deselected: 3, seed: "7f3a".into(), repeat: 1, took: Duration::from_millis(12_345), ..Summary::default() }
}

fn result(id: &str, turn: usize, verdict: Verdict) -> CaseResult {
    let case = cases::all().into_iter().find(|case| case.id == id).expect("the case exists");
    let line = |at_us, channel, direction, text: &str| Line { at_us, channel, direction, text: text.to_owned() };
    let transcript = vec![
        line(12, "http", "→", "POST /events {\"eventType\":\"record.accessed\"}"),
        line(3_400, "redis", "←", "XADD queue * payload {}"),
        line(3_500, "redis", "→", "1-1"),
        line(4_000, "http", "←", "HTTP 202 {}"),
        line(5_000, "ws", "→", "40/notifications,{\"token\":\"[token]\"}"),
        line(6_000, "ws", "←", "42/notifications,[\"queued.events\",[{\"a\":1}]]"),
        line(7_000, "note", "·", TROUBLE),
    ];
    CaseResult { case, turn, verdict, took: Duration::from_micros(8_400), transcript }
}
