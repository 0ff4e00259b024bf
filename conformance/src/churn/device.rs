//! One device of a user: connects to a node, reads, acknowledges, goes away in one manner or another, and comes back, as its
//! plans say.

use std::{collections::VecDeque, convert::Infallible, future::pending, net::SocketAddr, time::Duration};

use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{
    check::HALF_OPEN_FOR,
    contents::{self, Contents},
    history::{Connection, HALF_OPEN, History, What},
    phase::{Phase, Phases},
    plan::{Choices, Leaving, Plan},
    system::{System, own_fault},
    unseen::Unseen,
    upgrade::{self, Remains},
    way::{Failing, Way},
};
use crate::{
    bench::{Bench, User},
    client::{Arrival, Client, Delivery, Transport},
    expect::{Fault, Outcome, mismatch},
    proxy::Proxy,
};

/// How long it waits before it tries again after a CONNECT that failed.
const RETRY: Duration = Duration::from_millis(100);
/// How long the answer to a CONNECT may take.
const ACCEPT_LIMIT: Duration = Duration::from_secs(5);
/// What may come with that answer, in bytes: over polling the queue comes in the same piece.
const ACCEPT_BYTES: u32 = 1_500_000;
/// How long the server may take to close the connection of a device that leaves.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
/// How long a token is used: to sign one for each connection would be half of what the suite does.
const TOKEN_FOR: Duration = Duration::from_secs(60);

/// What the device of a user is like.
pub(super) struct Device {
    pub(super) system: System,
    pub(super) user: User,
    /// What the user's events say.
    pub(super) contents: Contents,
    /// The device's number.
    pub(super) device: usize,
    pub(super) acknowledging: bool,
    /// What it may do.
    pub(super) choices: Choices,
    pub(super) dice: StdRng,
    pub(super) history: History,
    pub(super) unseen: Unseen,
    pub(super) phases: Phases,
}

/// One stay.
struct Stay {
    node: usize,
    on: Connection,
    acknowledges: bool,
    /// How many `queued.events` have come.
    batches: usize,
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
            let mut plan = Plan::draw(&self.choices, &mut self.dice);
            if self.phases.now() != Phase::Busy {
                // What is left is to be read now.
                plan.bytes_a_second = None;
            }
            self.note(plan.node, What::Connecting(on));
            match self.connect(&plan, &mut token).await {
                Ok((client, line)) => {
                    let (way, bytes_a_second) = (plan.way, plan.bytes_a_second);
                    self.note(plan.node, What::Connected { on, way, bytes_a_second });
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

    async fn connect(&self, plan: &Plan, token: &mut Option<(Instant, String)>) -> Outcome<(Client, Proxy)> {
        let node = &self.system.nodes[plan.node];
        let mut auth = json!({"token": self.token(node, token).await?});
        if self.acknowledging {
            auth["ack"] = true.into();
        }
        let line = match plan.bytes_a_second {
            // It becomes slow when the upgrade is through, which waits for the poll that is under way.
            Some(_) if plan.way == Way::Upgrade => node.slow_line(0).await?,
            Some(bytes_a_second) => node.slow_line(bytes_a_second).await?,
            None => node.line().await?,
        };
        let transport = if plan.way == Way::WebSocket { Transport::WebSocket } else { Transport::Polling };
        let mut client = node.attempt_raw(node.opening_over(&line, transport), Some(auth)).await?;
        let needs = |bytes_a_second| Duration::from_secs(1).mul_f64(f64::from(ACCEPT_BYTES) / bytes_a_second as f64);
        let limit = ACCEPT_LIMIT + plan.bytes_a_second.map_or(Duration::ZERO, needs);
        match client.next(limit).await {
            Some(Arrival::Accepted) => Ok((client, line)),
            Some(other) => Err(unexpected(other)),
            None => Err(mismatch("an answer to the CONNECT", format!("none within {limit:?}"))),
        }
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
    async fn stay(&self, mut client: Client, line: Proxy, on: Connection, plan: &Plan) -> Option<Silent> {
        let until = Instant::now() + plan.stays;
        let busy = self.phases.now() == Phase::Busy;
        let node = plan.node;
        let mut stay = Stay { node, on, acknowledges: !(busy && self.acknowledging && plan.silent), batches: 0 };
        if plan.way == Way::Upgrade
            && let Err(why) = self.upgrade(&mut client, &line, &mut stay, plan).await
        {
            self.closed(&stay, &why);
            return None;
        }
        let sid = client.wire().map(|wire| wire.handshake.sid.clone()).unwrap_or_default();
        let beside = async {
            let _remains = match plan.way {
                Way::FailedUpgrade => self.fail_upgrade((node, on), line.address(), &sid, plan.failing).await,
                Way::WebSocket | Way::Polling | Way::Upgrade => None,
            };
            // What is open of it stays so for as long as the device does.
            pending::<Infallible>().await
        };
        let read = async {
            loop {
                if let Some(arrival) = client.next(LEAVE_LIMIT).await {
                    self.take(&mut client, arrival, &mut stay).await?;
                }
            }
        };
        let mut phases = self.phases.clone();
        let ended: Result<Outcome, ()> = tokio::select! {
            ended = read => Ok(ended),
            never = beside => match never {},
            () = tokio::time::sleep_until(until), if busy => Err(()),
            () = phases.over() => Err(()),
        };
        if let Ok(ended) = ended {
            self.closed(&stay, &ended.err().map_or_else(String::new, |fault| fault.to_string()));
            return None;
        }
        match plan.leaving {
            Leaving::Politely => {
                // What waits for it does not keep it any longer.
                line.pace(0);
                self.leave(client, stay).await;
            }
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

    /// Goes on over WebSocket.
    ///
    /// # Errors
    /// Where the server does not let it, in words; then the connection is of no use any more, and what came by then was read.
    async fn upgrade(&self, client: &mut Client, line: &Proxy, stay: &mut Stay, plan: &Plan) -> Result<(), String> {
        let Some(wire) = client.wire() else { return Err("the client has no connection of its own".to_owned()) };
        match wire.upgrade().await {
            Ok(()) => {
                line.pace(plan.bytes_a_second.unwrap_or(0));
                self.note(stay.node, What::Upgraded(stay.on));
                Ok(())
            }
            Err(error) => {
                let why = error.to_string();
                self.note(stay.node, What::NotUpgraded { on: stay.on, why: why.clone() });
                while let Some(arrival) = client.next(Duration::ZERO).await {
                    if self.take(client, arrival, stay).await.is_err() {
                        break;
                    }
                }
                Err(format!("the upgrade failed: {why}"))
            }
        }
    }

    /// Lets an upgrade come to nothing; returns what is left of it.
    async fn fail_upgrade(
        &self,
        (node, on): (usize, Connection),
        address: SocketAddr,
        sid: &str,
        failing: Failing,
    ) -> Option<Remains> {
        match upgrade::fail(address, sid, failing).await {
            Ok(remains) => {
                self.note(node, What::UpgradeFailed { on, failing });
                Some(remains)
            }
            Err(why) => {
                self.note(node, What::NotUpgraded { on, why });
                None
            }
        }
    }

    /// A connection has ended that was to go on.
    fn closed(&self, stay: &Stay, why: &str) {
        if let Some(why) = own_fault(&mismatch("a connection that goes on", why)) {
            self.note(stay.node, What::OwnFault { why });
        }
        self.note(stay.node, What::Closed { on: stay.on, why: why.to_owned() });
    }

    async fn leave(&self, mut client: Client, mut stay: Stay) {
        self.note(stay.node, What::Leaving(stay.on));
        let read = async {
            client.leave().await?;
            loop {
                match client.next(LEAVE_LIMIT).await {
                    Some(Arrival::Closed(_)) => return Ok(()),
                    Some(arrival) => self.take(&mut client, arrival, &mut stay).await?,
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

    async fn take(&self, client: &mut Client, arrival: Arrival, stay: &mut Stay) -> Outcome {
        let (name, args, ack) = match arrival {
            Arrival::Event { name, args, ack } => (name, args, ack),
            Arrival::Disconnected => return Ok(()),
            other => return Err(unexpected(other)),
        };
        let queued = name == "queued.events";
        let payloads: &[Value] = match (queued, args.first()) {
            (true, Some(Value::Array(payloads))) => payloads,
            (true, _) => &[],
            (false, _) => &args,
        };
        stay.batches += usize::from(queued);
        let alone = (!queued).then_some(name.as_str());
        let numbers: Vec<_> = payloads.iter().filter_map(|payload| self.receive(payload, stay, alone)).collect();
        let dropped = args.get(1).and_then(|loss| loss["dropped"].as_u64()).filter(|dropped| queued && *dropped > 0);
        if let Some(dropped) = dropped {
            self.note(stay.node, What::Missed { on: stay.on, dropped });
        }
        let asked = ack.is_some();
        // What nobody acknowledges the server keeps, and it counts for the cap of its queue.
        if stay.acknowledges || !self.acknowledging || !asked {
            numbers.into_iter().for_each(|n| self.unseen.seen(n));
        }
        if stay.acknowledges && asked {
            match client.acknowledge(&Delivery { args, ack }, Vec::new()).await {
                // The connection is gone: the next arrival says so.
                Ok(()) | Err(Fault::Mismatch { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// Returns the event's number, where it has one. `name` is that of an event that came alone, and not in `queued.events`.
    fn receive(&self, payload: &Value, stay: &Stay, name: Option<&str>) -> Option<u64> {
        let Stay { node, on, batches, .. } = *stay;
        let text = |name: &str| payload[name].as_str().map(str::to_owned);
        let (event_id, timestamp) = (text("eventId"), text("timestamp"));
        let (metadata, n) = (&payload["metadata"], payload["metadata"]["n"].as_u64());
        match n.filter(|n| metadata["targetUserId"] == *self.user.id && self.unseen.was_emitted(*n)) {
            Some(n) => {
                let differs = contents::difference(&self.contents.event(n), name, payload);
                let queued = name.is_none().then_some(batches);
                self.note(node, What::Received { on, n, event_id, timestamp, differs, queued });
                Some(n)
            }
            None => {
                let payload = format!("the event {event_id:?} for {}, number {n:?}", metadata["targetUserId"]);
                self.note(node, What::Stray { on, payload });
                None
            }
        }
    }

    fn note(&self, node: usize, what: What) {
        self.history.note(self.contents.number, node, what);
    }
}

/// What came in an event's place; not what it says, for that may be a patient's.
fn unexpected(arrival: Arrival) -> Fault {
    let came = match arrival {
        Arrival::Closed(why) => return mismatch("a connection that goes on", why),
        Arrival::Refused(refusal) => format!("a CONNECT_ERROR {:?}", refusal.message().unwrap_or_default()),
        Arrival::Accepted => "one more answer to the CONNECT".to_owned(),
        Arrival::Event { .. } => "an event before the answer to the CONNECT".to_owned(),
        Arrival::Ack { .. } => "an acknowledgement".to_owned(),
        Arrival::Disconnected => "a DISCONNECT".to_owned(),
        Arrival::Strange(text) => format!("something strange of {} bytes", text.len()),
    };
    mismatch("an event, or the answer to a CONNECT", came)
}
