//! The report as JSON, by `fixtures/schema/report.schema.json`: everything that the run has found out.

use std::io;

use serde_json::{Value, json};

use super::decode::decode;
use crate::{
    event::{CaseResult, RunEvent, Summary},
    transcript::Line,
};

/// The version of the form; it changes when a reader of the old form would misread the new one.
pub const FORMAT: u32 = 1;

/// Gathers a run's events.
#[derive(Debug)]
pub struct Json {
    target: String,
    environment: Value,
    ground: Vec<Value>,
    remarks: Vec<String>,
    cases: Vec<Value>,
    summary: Option<Value>,
    given_up: Option<String>,
}

impl Json {
    /// A report on the target of this name.
    pub fn new(target: &str) -> Self {
        Self {
            target: target.to_owned(),
            environment: Value::Null,
            ground: Vec::new(),
            remarks: Vec::new(),
            cases: Vec::new(),
            summary: None,
            given_up: None,
        }
    }

    /// Takes one event in.
    pub fn show(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Ready(part, what, took) => {
                self.ground.push(json!({"part": part, "what": what, "took_us": micros(*took)}));
            }
            RunEvent::Remark(remark) => self.remarks.push(remark.clone()),
            RunEvent::Environment(environment) => {
                self.target.clone_from(&environment.target);
                self.environment = json!(environment);
            }
            RunEvent::GivenUp(why) => self.given_up = Some(why.clone()),
            RunEvent::Planned(_) | RunEvent::Busy(..) => {}
            RunEvent::Finished(result) => self.cases.push(case(result)),
            RunEvent::Ended(end) => self.summary = Some(summary(end)),
        }
    }

    /// The whole document.
    ///
    /// # Errors
    /// Where it cannot be put into words.
    pub fn text(&self) -> io::Result<String> {
        let mut text = serde_json::to_string_pretty(&self.value())?;
        text.push('\n');
        Ok(text)
    }

    fn value(&self) -> Value {
        let mut cases = self.cases.clone();
        cases.sort_by_key(|case| (case["id"].as_str().map(str::to_owned), case["turn"].as_u64()));
        json!({
            "format": FORMAT,
            "suite": {"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")},
            "target": self.target,
            "environment": self.environment,
            "ground": self.ground,
            "remarks": self.remarks,
            "cases": cases,
            "summary": self.summary,
            "given_up": self.given_up,
        })
    }
}

fn case(result: &CaseResult) -> Value {
    let case = &result.case;
    let mut value = json!({
        "id": case.id,
        "title": case.title,
        "area": case.area(),
        "level": case.level(),
        "profile": case.profile(),
        "sentences": case.sentences().collect::<Vec<_>>(),
        "requirement": case.sentence().text,
        "turn": result.turn,
        "took_us": micros(result.took),
        "result": result.verdict,
    });
    if !matches!(result.verdict, crate::event::Verdict::Passed) {
        value["transcript"] = result.transcript.iter().map(line).collect();
    }
    value
}

/// A line with what it means.
fn line(line: &Line) -> Value {
    let decoded = decode(line);
    let mut value = json!(line);
    value["layer"] = decoded.layer.into();
    value["what"] = decoded.what.into();
    value
}

fn summary(summary: &Summary) -> Value {
    let mut value = json!(summary);
    value["took_us"] = micros(summary.took);
    value
}

fn micros(duration: std::time::Duration) -> Value {
    Value::from(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}
