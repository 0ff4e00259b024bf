//! A run that never was, with every kind of result in it, for the tests of the reports.

use std::time::Duration;

use super::record::Record;
use crate::{
    cases,
    event::{CaseResult, Conformance, Count, RunEvent, Summary, Verdict},
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
    Summary {
        must: Count::default(),
        should: Count::default(),
        deselected: 3,
        seed: "7f3a".into(),
        repeat: 1,
        flaky: vec!["QUEUE-03/exactly-50".into()],
        took: Duration::from_millis(12_345),
        conformance: Conformance::Inconclusive,
    }
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
