//! One device of a user: connects, reads, acknowledges, goes away in one manner or another, and comes back, as its dice say.

use std::{ops::Range, time::Duration};

use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{
    history::{Connection, HALF_OPEN, History, What},
    phase::{Phase, Phases},
    unseen::Unseen,
};
use crate::{
    bench::{Bench, User},
    client::{Arrival, Client, Delivery, Transport},
    expect::{Fault, Outcome, mismatch},
    proxy::Proxy,
};

/// How long a device stays, in milliseconds.
const STAY_MS: Range<u64> = 50..1_500;
/// How long it is away.
const AWAY_MS: Range<u64> = 0..400;
/// How long it waits before it tries again after a CONNECT that failed.
const RETRY: Duration = Duration::from_millis(100);
/// How long the server may take to close the connection of a device that leaves.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
/// Of how many stays one acknowledges nothing.
const SILENT_ONE_IN: u32 = 8;

/// How a device goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// It says so, and reads what the server had sent by then.
    Politely,
    /// Its line is cut.
    Cut,
    /// Its line falls silent, and nobody tells the server.
    HalfOpen,
}

/// What the device of a user is like.
pub(super) struct Device {
    pub(super) bench: Bench,
    pub(super) user: User,
    /// The user's number.
    pub(super) number: usize,
    /// The device's number.
    pub(super) device: usize,
    pub(super) acknowledging: bool,
    /// The ways in which it may leave; each is as likely as it stands there often.
    pub(super) leavings: Vec<Leaving>,
    pub(super) dice: StdRng,
    pub(super) history: History,
    pub(super) unseen: Unseen,
    pub(super) phases: Phases,
}

impl Device {
    /// Until the end of the workload.
    pub(super) async fn live(mut self) {
        // Lines that have fallen silent stay so: were they dropped, the server would be told.
        let mut silent = Vec::new();
        for connection in 1.. {
            let on = Connection { device: self.device, connection };
            if self.phases.now() == Phase::Over {
                return;
            }
            match self.connect().await {
                Ok((client, line)) => {
                    self.note(What::Connected(on));
                    silent.extend(self.stay(client, line, on).await);
                    if self.phases.now() == Phase::Busy {
                        sleep(Duration::from_millis(self.dice.random_range(AWAY_MS))).await;
                    }
                }
                Err(fault) => {
                    self.note(What::NotConnected { on, why: fault.to_string() });
                    sleep(RETRY).await;
                }
            }
        }
    }

    async fn connect(&self) -> Outcome<(Client, Proxy)> {
        let mut auth = json!({"token": self.bench.token(&self.user).await?});
        if self.acknowledging {
            auth["ack"] = true.into();
        }
        let line = self.bench.line().await?;
        let opening = self.bench.opening_over(&line, Transport::WebSocket);
        let mut client = self.bench.attempt_raw(opening, Some(auth)).await?;
        client.expect_accepted().await?;
        Ok((client, line))
    }

    /// Reads until it is time to go; returns a line that has fallen silent with the client at its end.
    async fn stay(&mut self, mut client: Client, line: Proxy, on: Connection) -> Option<(Client, Proxy)> {
        let until = Instant::now() + Duration::from_millis(self.dice.random_range(STAY_MS));
        let busy = self.phases.now() == Phase::Busy;
        let silent = self.acknowledging && busy && self.dice.random_ratio(1, SILENT_ONE_IN);
        let leaving = self.leavings[self.dice.random_range(0..self.leavings.len())];
        let read = async {
            loop {
                if let Some(arrival) = client.next(LEAVE_LIMIT).await {
                    self.take(&mut client, arrival, on, !silent).await?;
                }
            }
        };
        let mut phases = self.phases.clone();
        let ended: Result<Outcome, ()> = tokio::select! {
            ended = read => Ok(ended),
            () = tokio::time::sleep_until(until), if busy => Err(()),
            () = phases.over() => Err(()),
        };
        if let Ok(ended) = ended {
            let how = ended.err().map_or_else(String::new, |fault| fault.to_string());
            self.note(What::Broken { on, how });
            return None;
        }
        match leaving {
            Leaving::Politely => self.leave(client, on, !silent).await,
            Leaving::Cut => {
                line.cut();
                self.note(What::Broken { on, how: "cut".to_owned() });
            }
            Leaving::HalfOpen => {
                line.black_hole();
                self.note(What::Broken { on, how: HALF_OPEN.to_owned() });
                return Some((client, line));
            }
        }
        None
    }

    async fn leave(&self, mut client: Client, on: Connection, acknowledges: bool) {
        let read = async {
            client.leave().await?;
            loop {
                match client.next(LEAVE_LIMIT).await {
                    Some(Arrival::Closed(_)) => return Ok(()),
                    Some(arrival) => self.take(&mut client, arrival, on, acknowledges).await?,
                    None => {}
                }
            }
        };
        let ended: Result<Outcome, _> = timeout(LEAVE_LIMIT, read).await;
        self.note(match ended {
            Ok(Ok(())) => What::Left(on),
            Ok(Err(fault)) => What::Broken { on, how: fault.to_string() },
            Err(_) => What::Broken { on, how: "the server did not close it".to_owned() },
        });
    }

    async fn take(&self, client: &mut Client, arrival: Arrival, on: Connection, acknowledges: bool) -> Outcome {
        let (name, args, ack) = match arrival {
            Arrival::Event { name, args, ack } => (name, args, ack),
            Arrival::Disconnected => return Ok(()),
            other => return Err(mismatch("an event", format!("{other:?}"))),
        };
        let queued = name == "queued.events";
        let payloads: &[Value] = match (queued, args.first()) {
            (true, Some(Value::Array(payloads))) => payloads,
            (true, _) => &[],
            (false, _) => &args,
        };
        payloads.iter().for_each(|payload| self.receive(payload, on, queued));
        let dropped = args.get(1).and_then(|loss| loss["dropped"].as_u64()).filter(|dropped| queued && *dropped > 0);
        if let Some(dropped) = dropped {
            self.note(What::Missed { on, dropped });
        }
        if acknowledges && ack.is_some() {
            match client.acknowledge(&Delivery { args, ack }, Vec::new()).await {
                // The connection is gone: the next arrival says so.
                Ok(()) | Err(Fault::Mismatch { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    fn receive(&self, payload: &Value, on: Connection, queued: bool) {
        let event_id = payload["eventId"].as_str().map(str::to_owned);
        let (metadata, n) = (&payload["metadata"], payload["metadata"]["n"].as_u64());
        match n.filter(|n| metadata["targetUserId"] == *self.user.id && self.unseen.was_emitted(*n)) {
            Some(n) => {
                self.note(What::Received { on, n, event_id, queued });
                self.unseen.seen(n);
            }
            None => {
                let payload = format!("the event {event_id:?} for {}, number {n:?}", metadata["targetUserId"]);
                self.note(What::Stray { on, payload });
            }
        }
    }

    fn note(&self, what: What) {
        self.history.note(self.number, what);
    }
}
