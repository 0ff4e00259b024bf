//! What a case is: data, and an async function. Knows nothing of how cases are run and reported.

use std::{pin::Pin, time::Duration};

use crate::{
    bench::Bench,
    expect::Outcome,
    spec::{self, Level, Profile, Sentence},
};

/// The future of a running case.
pub type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// One check of one or more sentences.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// `SENTENCE-ID/slug`; never reused.
    pub id: &'static str,
    /// What holds where the case passes.
    pub title: &'static str,
    /// Further sentences that the case checks.
    pub also: &'static [&'static str],
    /// What the case asks of a target beyond what its sentence does.
    pub needs: &'static [Need],
    /// How long it waits because the passing of time is what is tested, beyond what any case may take.
    pub waits: Duration,
    /// The story.
    pub run: fn(Bench) -> Running,
}

/// What a case may ask of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A declared capability.
    Capability(&'static str),
    /// A server of the case's own, so a target that the suite starts.
    OwnServer,
    /// A setting that the target file maps to a variable.
    Setting(&'static str),
    /// Network namespaces of this machine: root and iproute2. Where there are none, the case is left out and told, or not run where it
    /// was asked for by its id.
    Namespaces,
    /// Processor time, for it floods its server: in a self-test it faces only the mutants that name it.
    Processor,
}

impl Case {
    /// A case that asks for no more than its sentence does.
    pub const fn new(id: &'static str, title: &'static str, run: fn(Bench) -> Running) -> Self {
        Self { id, title, also: &[], needs: &[], waits: Duration::ZERO, run }
    }

    /// Names further sentences that the case checks.
    #[must_use]
    pub const fn also(mut self, sentences: &'static [&'static str]) -> Self {
        self.also = sentences;
        self
    }

    /// Names what the case asks for.
    #[must_use]
    pub const fn needs(mut self, needs: &'static [Need]) -> Self {
        self.needs = needs;
        self
    }

    /// Gives the case more time than others have.
    #[must_use]
    pub const fn waits(mut self, waits: Duration) -> Self {
        self.waits = waits;
        self
    }

    /// The id of the sentence that the case is about.
    pub fn sentence_id(&self) -> &'static str {
        self.id.split('/').next().unwrap_or(self.id)
    }

    /// The area that the sentence belongs to, such as `QUEUE`.
    pub fn area(&self) -> &'static str {
        self.id.split('-').next().unwrap_or(self.id)
    }

    /// The sentence that the case is about.
    ///
    /// # Panics
    /// Where `SPEC.md` does not have it, which a test rules out.
    pub fn sentence(&self) -> &'static Sentence {
        spec::sentence(self.sentence_id()).expect("every case names a sentence of SPEC.md")
    }

    /// The level of that sentence.
    pub fn level(&self) -> Level {
        self.sentence().level
    }

    /// The profile of that sentence.
    pub fn profile(&self) -> Profile {
        self.sentence().profile
    }

    /// The ids of all sentences that the case checks.
    pub fn sentences(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.sentence_id()).chain(self.also.iter().copied())
    }

    /// The capabilities that sentence and case ask for.
    pub fn capabilities(&self) -> impl Iterator<Item = &str> {
        let own = self.needs.iter().filter_map(|need| match need {
            Need::Capability(name) => Some(*name),
            Need::OwnServer | Need::Setting(_) | Need::Namespaces | Need::Processor => None,
        });
        self.sentence().capabilities.iter().map(String::as_str).chain(own)
    }
}
