//! One device of a user: connects to a node, reads, acknowledges, goes away in one manner or another, and comes back, as its
//! dice say.

use std::{collections::VecDeque, ops::Range, time::Duration};

use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{
    check::HALF_OPEN_FOR,
    history::{Connection, HALF_OPEN, History, What},
    phase::{Phase, Phases},
    system::{System, own_fault},
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
/// How long a token is used: to sign one for each connection would be half of what the suite does.
const TOKEN_FOR: Duration = Duration::from_secs(60);

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
    pub(super) system: System,
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

/// What a device does with one connection. Always as many dice, so that a run repeats another's choices, however it goes.
struct Plan {
    node: usize,
    stays: Duration,
    /// Whether it acknowledges nothing.
    silent: bool,
    leaving: Leaving,
    away: Duration,
}

impl Plan {
    fn draw(nodes: usize, leavings: &[Leaving], dice: &mut StdRng) -> Self {
        Self {
            node: dice.random_range(0..nodes),
            stays: Duration::from_millis(dice.random_range(STAY_MS)),
            silent: dice.random_ratio(1, SILENT_ONE_IN),
            leaving: leavings[dice.random_range(0..leavings.len())],
            away: Duration::from_millis(dice.random_range(AWAY_MS)),
        }
    }
}

/// One stay.
#[derive(Clone, Copy)]
struct Stay {
    node: usize,
    on: Connection,
    acknowledges: bool,
}

/// A connection that has fallen silent, with its line.
struct Silent {
    since: Instant,
    _held: (Client, Proxy),
}

impl Device {
    /// Until the end of the workload.
    pub(super) async fn live(mut self) {
        // Lines that have fallen silent stay so while the server may believe in them: were they dropped, it would be told.
        let mut silent: VecDeque<Silent> = VecDeque::new();
        let mut token = None;
        for connection in 1.. {
            if self.phases.now() == Phase::Over {
                return;
            }
            while silent.pop_front_if(|line| line.since.elapsed() > HALF_OPEN_FOR).is_some() {}
            let on = Connection { device: self.device, connection };
            let plan = Plan::draw(self.system.nodes.len(), &self.leavings, &mut self.dice);
            self.note(plan.node, What::Connecting(on));
            match self.connect(plan.node, &mut token).await {
                Ok((client, line)) => {
                    self.note(plan.node, What::Connected(on));
                    silent.extend(self.stay(client, line, on, &plan).await);
                    if self.phases.now() == Phase::Busy {
                        sleep(plan.away).await;
                    }
                }
                Err(fault) => {
                    if let Some(why) = own_fault(&fault) {
                        self.note(plan.node, What::OwnFault { why });
                    }
                    self.note(plan.node, What::NotConnected { on, why: fault.to_string() });
                    sleep(RETRY).await;
                }
            }
        }
    }

    async fn connect(&self, node: usize, token: &mut Option<(Instant, String)>) -> Outcome<(Client, Proxy)> {
        let node = &self.system.nodes[node];
        let mut auth = json!({"token": self.token(node, token).await?});
        if self.acknowledging {
            auth["ack"] = true.into();
        }
        let line = node.line().await?;
        let opening = node.opening_over(&line, Transport::WebSocket);
        let mut client = node.attempt_raw(opening, Some(auth)).await?;
        client.expect_accepted().await?;
        Ok((client, line))
    }

    async fn token(&self, node: &Bench, token: &mut Option<(Instant, String)>) -> Outcome<String> {
        if let Some((since, token)) = token
            && since.elapsed() < TOKEN_FOR
        {
            return Ok(token.clone());
        }
        let fresh = node.token(&self.user).await?;
        *token = Some((Instant::now(), fresh.clone()));
        Ok(fresh)
    }

    /// Reads until it is time to go; returns a line that has fallen silent with the client at its end.
    async fn stay(&mut self, mut client: Client, line: Proxy, on: Connection, plan: &Plan) -> Option<Silent> {
        let until = Instant::now() + plan.stays;
        let busy = self.phases.now() == Phase::Busy;
        let node = plan.node;
        let stay = Stay { node, on, acknowledges: !(busy && self.acknowledging && plan.silent) };
        let read = async {
            loop {
                if let Some(arrival) = client.next(LEAVE_LIMIT).await {
                    self.take(&mut client, arrival, stay).await?;
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
            self.note(node, What::Broken { on, how });
            return None;
        }
        match plan.leaving {
            Leaving::Politely => self.leave(client, stay).await,
            Leaving::Cut => {
                line.cut();
                self.note(node, What::Broken { on, how: "cut".to_owned() });
            }
            Leaving::HalfOpen => {
                line.black_hole();
                self.note(node, What::Broken { on, how: HALF_OPEN.to_owned() });
                return Some(Silent { since: Instant::now(), _held: (client, line) });
            }
        }
        None
    }

    async fn leave(&self, mut client: Client, stay: Stay) {
        self.note(stay.node, What::Leaving(stay.on));
        let read = async {
            client.leave().await?;
            loop {
                match client.next(LEAVE_LIMIT).await {
                    Some(Arrival::Closed(_)) => return Ok(()),
                    Some(arrival) => self.take(&mut client, arrival, stay).await?,
                    None => {}
                }
            }
        };
        let ended: Result<Outcome, _> = timeout(LEAVE_LIMIT, read).await;
        let Stay { node, on, .. } = stay;
        let what = match ended {
            Ok(Ok(())) => What::Left(on),
            Ok(Err(fault)) => What::Broken { on, how: fault.to_string() },
            Err(_) => What::Broken { on, how: "the server did not close it".to_owned() },
        };
        self.note(node, what);
    }

    async fn take(&self, client: &mut Client, arrival: Arrival, stay: Stay) -> Outcome {
        let Stay { node, on, acknowledges } = stay;
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
        payloads.iter().for_each(|payload| self.receive(payload, stay, queued));
        let dropped = args.get(1).and_then(|loss| loss["dropped"].as_u64()).filter(|dropped| queued && *dropped > 0);
        if let Some(dropped) = dropped {
            self.note(node, What::Missed { on, dropped });
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

    fn receive(&self, payload: &Value, Stay { node, on, .. }: Stay, queued: bool) {
        let event_id = payload["eventId"].as_str().map(str::to_owned);
        let (metadata, n) = (&payload["metadata"], payload["metadata"]["n"].as_u64());
        match n.filter(|n| metadata["targetUserId"] == *self.user.id && self.unseen.was_emitted(*n)) {
            Some(n) => {
                self.note(node, What::Received { on, n, event_id, queued });
                self.unseen.seen(n);
            }
            None => {
                let payload = format!("the event {event_id:?} for {}, number {n:?}", metadata["targetUserId"]);
                self.note(node, What::Stray { on, payload });
            }
        }
    }

    fn note(&self, node: usize, what: What) {
        self.history.note(self.number, node, what);
    }
}
