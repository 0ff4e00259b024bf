//! Making an event's payload and writing it as JSON, which happens once for all who receive it.

use criterion::{BatchSize, Criterion};
use notify_server::{
    model::{Draft, EventType, Outgoing},
    rules::{Rules, Standard},
};
use serde_json::json;

pub(crate) fn encode(criterion: &mut Criterion) {
    let draft = draft();
    criterion.bench_function("encode a payload", |bencher| {
        bencher.iter_batched(|| draft.clone(), |draft| Outgoing::from(Standard.payload(draft)), BatchSize::SmallInput);
    });
}

/// About 300 bytes of JSON, as an event of a health record has.
pub(crate) fn draft() -> Draft {
    let metadata = json!({
        "targetUserId": "alice",
        "recordType": "lab-result",
        "reason": "follow-up of 2026-11-03",
        "fields": ["haemoglobin", "ferritin"],
    });
    Draft {
        event_type: EventType::RecordAccessed,
        actor_id: "practitioner-7f31b2".to_owned(),
        resource_id: "record-0192f1c4-5a77".to_owned(),
        metadata: metadata.as_object().cloned().unwrap_or_default().into(),
    }
}
