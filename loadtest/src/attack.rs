//! The acting side: goose's users do something over and over, as fast as it succeeds (closed loop) or when it is due (open loop).
//! What they do is somebody else's.
//!
//! Goose starts the users, keeps its metrics and writes its reports. Each user's one transaction loops over acts of its own
//! and records them as custom requests where goose's reports are asked for, so that those show the same acts: goose's own
//! requests cost more than a fast server's answers. When an act is due is decided by [`Pace`] inside these transactions, for goose's throttle blocks
//! within the request and keeps no intended time.

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use goose::{
    GooseAttack, GooseError,
    config::GooseConfiguration,
    goose::{GooseUser, Scenario, Transaction, TransactionFunction, TransactionResult},
};
use tokio::sync::{Barrier, watch};

use crate::{
    http::Address,
    latency::{Recorder, micros},
    pace::Pace,
};

/// Something that is done over and over.
pub trait Deed: Send + Sync {
    /// What goose calls it: a method and a name.
    fn name(&self) -> (&str, &str);
    /// Somebody who does it, one after the other.
    fn hand(self: Arc<Self>) -> Box<dyn Hand>;
}

/// Somebody who does it.
pub trait Hand: Send {
    /// Does it once; `intended` is when it was due, or now.
    fn act(&mut self, intended: Instant) -> BoxFuture<'_, Act>;
}

/// What came of an act.
#[derive(Debug, Clone, Copy)]
pub struct Act {
    /// How long it took from the intended time on.
    pub took: Duration,
    /// Whether it succeeded.
    pub succeeded: bool,
}

/// How fast, for how long, and by how many.
#[derive(Debug, Clone)]
pub struct Order {
    /// Where to.
    pub address: Address,
    /// Hands that act at a time.
    pub hands: usize,
    /// Acts a second; `None` in closed loop.
    pub rate: Option<f64>,
    /// For how long.
    pub duration: Duration,
    /// In closed loop: how many acts at most.
    pub most: u64,
    /// Goose's own reports.
    pub reports: Vec<PathBuf>,
}

/// An attack; those that watch it hold this, too.
pub struct Attack {
    order: Order,
    deed: Arc<dyn Deed>,
    /// From the intended time to the end of each act.
    pub acts: Recorder,
    everyone: Barrier,
    pace: OnceLock<Pace>,
    begin: watch::Sender<Option<Instant>>,
    done: AtomicU64,
    /// When the last act ended, in microseconds from the beginning: goose notices only later.
    ended_us: AtomicU64,
}

impl Attack {
    /// Ready to be carried out.
    pub fn new(order: Order, deed: Arc<dyn Deed>) -> Arc<Self> {
        let (everyone, done, ended_us) = (Barrier::new(order.hands), AtomicU64::new(0), AtomicU64::new(0));
        let (acts, pace, begin) = (Recorder::default(), OnceLock::new(), watch::Sender::new(None));
        Arc::new(Self { order, deed, acts, everyone, pace, begin, done, ended_us })
    }

    /// Lets goose act; returns once every act has ended.
    ///
    /// # Errors
    /// Where goose gives up.
    pub async fn carry_out(self: &Arc<Self>) -> Result<(), Box<GooseError>> {
        let attack = Arc::clone(self);
        let function: TransactionFunction = Arc::new(move |user| {
            let attack = Arc::clone(&attack);
            Box::pin(async move { attack.act_as(user).await })
        });
        let transaction = Transaction::new(function).set_name("act");
        let scenario = Scenario::new("load").register_transaction(transaction);
        let attack = GooseAttack::initialize_with_config(self.configuration())?.register_scenario(scenario);
        attack.execute().await.map(drop).map_err(Box::new)
    }

    /// When the clock starts: as soon as every one of goose's users is there.
    pub async fn begun(&self) -> Instant {
        let mut begin = self.begin.subscribe();
        let begun = begin.wait_for(Option::is_some).await.map(|begin| *begin);
        // The sender lives as long as this, and a beginning was waited for.
        begun.ok().flatten().unwrap_or_else(Instant::now)
    }

    /// Acts that were due and given up, because everything was late.
    pub fn given_up(&self) -> u64 {
        self.pace.get().map_or(0, Pace::given_up)
    }

    /// How long it took from the beginning to the end of the last act.
    pub fn took(&self) -> Duration {
        Duration::from_micros(self.ended_us.load(Relaxed))
    }

    /// How long it should take; `None` where a number of acts ends it.
    pub fn length(&self) -> Option<Duration> {
        (self.order.most == u64::MAX).then_some(self.order.duration)
    }

    fn configuration(&self) -> GooseConfiguration {
        let Address { host, port, secure } = &self.order.address;
        let mut configuration = GooseConfiguration::default();
        configuration.host = Some(format!("{}://{host}:{port}", if *secure { "https" } else { "http" }));
        configuration.users = Some(self.order.hands);
        configuration.increase_rate = Some("10000".to_owned());
        configuration.iterations = Some(1);
        configuration.no_print_metrics = true;
        // This controller listens for commands otherwise; the other one does only where it is asked for.
        configuration.no_telnet = true;
        configuration.quiet = 3;
        configuration.report_file = self.order.reports.iter().map(|path| path.display().to_string()).collect();
        configuration
    }

    async fn act_as(&self, user: &mut GooseUser) -> TransactionResult {
        let (method, name) = self.deed.name();
        let mut hand = Arc::clone(&self.deed).hand();
        let shard = self.acts.shard();
        let begun = self.start_together().await;
        let end = begun + self.order.duration;
        while let Some(intended) = self.next(end).await {
            let Act { took, succeeded } = hand.act(intended).await;
            self.acts.record(shard, micros(took));
            // What nobody will look at is not recorded: that takes as long as the request.
            if !self.order.reports.is_empty() {
                let error = (!succeeded).then_some("refused or not answered");
                user.record_custom_request_duration(method, name, took, succeeded, None, error).await?;
            }
            self.ended_us.fetch_max(micros(begun.elapsed()), Relaxed);
        }
        Ok(())
    }

    /// Waits for everybody; the last one to come starts the clock.
    async fn start_together(&self) -> Instant {
        if self.everyone.wait().await.is_leader() {
            let begin = Instant::now();
            if let Some(rate) = self.order.rate {
                self.pace.get_or_init(|| Pace::start(begin, rate, self.order.duration));
            }
            self.begin.send_replace(Some(begin));
        }
        self.begun().await
    }

    /// The intended time of the next act; `None` at the end.
    async fn next(&self, end: Instant) -> Option<Instant> {
        if goose::is_killswitch_triggered() {
            return None;
        }
        match self.pace.get() {
            Some(pace) => pace.next().await,
            None => {
                let now = Instant::now();
                (now < end && self.done.fetch_add(1, Relaxed) < self.order.most).then_some(now)
            }
        }
    }
}
