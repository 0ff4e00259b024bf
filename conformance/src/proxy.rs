//! A TCP proxy on loopback, for faults that ask nothing of the target: it stands before Redis, or before a client, and
//! can cut the line, keep silent or be slow. Knows nothing of what passes through it, but lets another read along.
//!
//! A *narrow* line takes so many bytes a second from the upstream, through a small receive buffer: what the upstream sees is a peer
//! that reads slowly, whatever stands behind the line and whichever way it speaks.

use std::{
    collections::BTreeSet,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, lookup_host},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::netns::Namespace;

/// How long dialling the upstream may take.
const DIAL_LIMIT: Duration = Duration::from_secs(5);
/// How long the proxy waits before it accepts again, when the machine is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// How late what a narrow line carries may be and still be made up for.
const MADE_UP_FOR: Duration = Duration::from_millis(100);
/// The most that is taken from one side before it is given to the other.
const CHUNK_BYTES: usize = 16 * 1024;
/// The receive buffer of a narrow line: with the usual one the kernel would take megabytes for it, however slowly it is read.
const NARROW_BYTES: u32 = 4096;
/// A narrow line takes so much at a time that this many steps make a second.
const STEPS_A_SECOND: u64 = 50;

/// A running proxy; it ends with all its connections when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    upstream: Arc<Mutex<String>>,
    line: watch::Sender<Line>,
    cut_at: Arc<Mutex<Option<Vec<u8>>>>,
    carried: watch::Receiver<u64>,
    _tasks: JoinSet<()>,
}

/// What the proxy does to its connections.
#[derive(Debug, Clone)]
struct Line {
    /// Connections of an earlier number are closed. A flag would not do: a cut that is restored at once could go unseen.
    cuts: u64,
    /// Connections of an earlier number carry nothing until they are cut.
    strandings: u64,
    mode: Mode,
    /// Where there are any, connections that the upstream knows by these ports carry nothing, and none that is younger does.
    hushed: Option<Arc<BTreeSet<u16>>>,
    delay: Duration,
    /// The most that is carried at a time.
    chunk_bytes: usize,
    /// What all connections together take from the upstream in a second; as much as there is, where this is 0.
    bytes_a_second: u64,
}

impl Line {
    const OPEN: Self = Self {
        cuts: 0,
        strandings: 0,
        mode: Mode::Open,
        hushed: None,
        delay: Duration::ZERO,
        chunk_bytes: CHUNK_BYTES,
        bytes_a_second: 0,
    };

    fn most_at_a_time(&self, paced: bool) -> usize {
        if !paced || self.bytes_a_second == 0 {
            return self.chunk_bytes;
        }
        let step = usize::try_from(self.bytes_a_second / STEPS_A_SECOND).unwrap_or(CHUNK_BYTES);
        step.clamp(1, self.chunk_bytes)
    }
}

/// What a connection was born into.
#[derive(Debug, Clone, Copy)]
struct Birth {
    cuts: u64,
    strandings: u64,
    /// The port by which the upstream knows it; 0 until it is dialled.
    port: u16,
    /// Whether others were hushed already.
    late: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    Cut,
    Silent,
}

/// Sees what one connection carries, just before it goes on.
pub trait ReadAlong: Send {
    /// From the client to the upstream.
    fn forth(&mut self, bytes: &[u8]);
    /// From the upstream to the client.
    fn back(&mut self, bytes: &[u8]);
}

/// Where the connections of a proxy lead, and who reads along on each.
#[derive(Clone)]
struct Way {
    upstream: Arc<Mutex<String>>,
    reader: Option<Arc<dyn Fn() -> Box<dyn ReadAlong> + Send + Sync>>,
    narrow: bool,
    /// Where the upstream is dialled from, if not from here.
    from: Option<Arc<Namespace>>,
    /// When the line has carried what it took from the upstream.
    busy_until: Arc<Mutex<Instant>>,
    /// How many bytes from the upstream have reached a client.
    carried: watch::Sender<u64>,
    /// What cuts the line when it comes, and what it cuts.
    cut_at: Arc<Mutex<Option<Vec<u8>>>>,
    line: watch::Sender<Line>,
}

impl Way {
    fn to(upstream: String) -> Self {
        let busy_until = Arc::new(Mutex::new(Instant::now()));
        Self {
            upstream: Arc::new(Mutex::new(upstream)),
            reader: None,
            narrow: false,
            from: None,
            busy_until,
            carried: watch::Sender::default(),
            cut_at: Arc::default(),
            line: watch::Sender::new(Line::OPEN),
        }
    }

    /// Cuts the line where these bytes, from the client, are what cuts it.
    fn is_cut_by(&self, bytes: &[u8]) -> bool {
        let mut cut_at = self.cut_at.lock().unwrap_or_else(PoisonError::into_inner);
        let comes = cut_at.as_ref().is_some_and(|text| memchr::memmem::find(bytes, text).is_some());
        if comes {
            *cut_at = None;
            cut(&self.line);
        }
        comes
    }

    fn upstream(&self) -> String {
        self.upstream.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn dial(&self) -> io::Result<TcpStream> {
        let upstream = self.upstream();
        if let Some(from) = &self.from {
            let from = Arc::clone(from);
            let address = upstream.parse().map_err(|_| io::Error::other("an upstream that is no address"))?;
            let dialled = tokio::task::spawn_blocking(move || from.dial(address)).await.map_err(io::Error::other)??;
            return TcpStream::from_std(dialled);
        }
        if !self.narrow {
            return TcpStream::connect(upstream).await;
        }
        let mut failed = io::Error::other("the upstream has no address");
        for address in lookup_host(upstream).await? {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // Before the connection is made: it decides what the window can be.
            socket.set_recv_buffer_size(NARROW_BYTES)?;
            match socket.connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Takes the time that so many bytes need on this line.
    async fn carries(&self, length: usize, bytes_a_second: u64) {
        let takes = Duration::from_secs_f64(length as f64 / bytes_a_second as f64);
        let until = {
            let mut busy_until = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
            // What a busy machine makes late is made up for, or the line would carry less than it says.
            *busy_until = (*busy_until).max(Instant::now() - MADE_UP_FOR) + takes;
            *busy_until
        };
        sleep_until(until).await;
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("upstream", &self.upstream()).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Starts a proxy before `upstream`, a `host:port`, which is dialled anew for each connection.
    ///
    /// # Errors
    /// Where no port can be bound on loopback.
    pub async fn start(upstream: String) -> io::Result<Self> {
        Self::along(Way::to(upstream)).await
    }

    /// As [`Self::start`], but narrow: its connections together take `bytes_a_second` from the upstream, which [`Self::pace`]
    /// changes, and keep no more than a few kilobytes in the kernel. The other way, from the client, is as quick as ever.
    ///
    /// # Errors
    /// Where no port can be bound on loopback.
    pub async fn narrow(upstream: String, bytes_a_second: u64) -> io::Result<Self> {
        let proxy = Self::along(Way { narrow: true, ..Way::to(upstream) }).await?;
        proxy.pace(bytes_a_second);
        Ok(proxy)
    }

    /// As [`Self::start`]; `reader` is called for each connection that is made.
    ///
    /// # Errors
    /// Where no port can be bound on loopback.
    pub async fn read_along(
        upstream: String,
        reader: impl Fn() -> Box<dyn ReadAlong> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::along(Way { reader: Some(Arc::new(reader)), ..Way::to(upstream) }).await
    }

    /// As [`Self::start`]; the upstream, an address and a port, is dialled from within `namespace`, so that what happens to the line of
    /// that happens to the connection.
    ///
    /// # Errors
    /// Where no port can be bound on loopback.
    pub async fn from_within(namespace: Arc<Namespace>, upstream: SocketAddr) -> io::Result<Self> {
        Self::along(Way { from: Some(namespace), ..Way::to(upstream.to_string()) }).await
    }

    async fn along(way: Way) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (line, cut_at, carried) = (way.line.clone(), Arc::clone(&way.cut_at), way.carried.subscribe());
        let upstream = way.upstream.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, way, line.subscribe()));
        Ok(Self { address, upstream, line, cut_at, carried, _tasks: tasks })
    }

    /// Where the proxy listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection, and each new one at once. What reaches the proxy after this call goes nowhere.
    pub fn cut(&self) {
        cut(&self.line);
    }

    /// The same once a client says `text`, and before it reaches the upstream. It has to come at once, as what is short does.
    pub fn cut_at(&self, text: &str) {
        *self.cut_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.as_bytes().to_vec());
    }

    /// Keeps connections open and accepts new ones, but carries nothing, the end of a connection included: a network
    /// that has gone silent. What was sent meanwhile arrives after [`Self::restore`], unless a cut comes first.
    pub fn black_hole(&self) {
        self.line.send_modify(|line| line.mode = Mode::Silent);
    }

    /// Lets new connections lead to another `host:port`, as a name does that was given to another server. Those of now stay where they
    /// are.
    pub fn lead_to(&self, upstream: String) {
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner) = upstream;
    }

    /// Keeps the connections open that the upstream knows by these ports, and accepts new ones, but carries nothing on either until
    /// [`Self::restore`].
    pub fn hush(&self, ports: BTreeSet<u16>) {
        self.line.send_modify(|line| line.hushed = Some(Arc::new(ports)));
    }

    /// Leaves every connection of now half-open: open on either side, and silent for good. New ones are as good as ever. So
    /// a peer looks whose machine was started anew, or whose address is another one's by now.
    pub fn strand(&self) {
        self.line.send_modify(|line| line.strandings += 1);
    }

    /// Carries so many bytes at a time and rests for so long after them, in each direction: a line that trickles. A delay
    /// of zero ends it.
    pub fn trickle(&self, bytes: usize, rest: Duration) {
        self.line.send_modify(|line| {
            line.delay = rest;
            line.chunk_bytes = if rest.is_zero() { CHUNK_BYTES } else { bytes.clamp(1, CHUNK_BYTES) };
        });
    }

    /// Takes so many bytes a second from the upstream, all connections together; 0 for as many as there are.
    pub fn pace(&self, bytes_a_second: u64) {
        self.line.send_modify(|line| line.bytes_a_second = bytes_a_second);
    }

    /// How many bytes from the upstream have reached a client so far, on all connections.
    pub fn carried(&self) -> u64 {
        *self.carried.borrow()
    }

    /// Waits until so many bytes from the upstream have reached a client; false where they have not in time.
    pub async fn has_carried(&self, bytes: u64, within: Duration) -> bool {
        let mut carried = self.carried.clone();
        let reached = timeout(within, carried.wait_for(|carried| *carried >= bytes)).await;
        matches!(reached, Ok(Ok(_)))
    }

    /// Lets everything through again, but on connections that are half-open. A delay stays.
    pub fn restore(&self) {
        self.line.send_modify(|line| {
            line.mode = Mode::Open;
            line.hushed = None;
        });
    }

    /// Holds each chunk, in each direction, for this long; zero for none. Chunks have at most 16 KiB and wait one after
    /// the other, so that a long transfer slows down as well.
    pub fn delay(&self, delay: Duration) {
        self.line.send_modify(|line| line.delay = delay);
    }
}

fn cut(line: &watch::Sender<Line>) {
    line.send_modify(|line| {
        line.cuts += 1;
        line.mode = Mode::Cut;
    });
}

/// How many bytes this machine's kernel takes on behalf of a peer on a narrow line that reads nothing, at the most: of so much nobody
/// can say whether the peer will ever read it.
///
/// # Errors
/// Where there are no two sockets to try it with.
pub async fn kernel_takes() -> io::Result<u64> {
    const STILL: Duration = Duration::from_millis(200);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let way = Way { narrow: true, ..Way::to(listener.local_addr()?.to_string()) };
    let (_peer, accepted) = tokio::try_join!(way.dial(), listener.accept())?;
    let (socket, _) = accepted;
    let mut taken = 0;
    while let Ok(writable) = timeout(STILL, socket.writable()).await {
        writable?;
        match socket.try_write(&[0; CHUNK_BYTES]) {
            Ok(length) => taken += length as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

async fn accept(listener: TcpListener, way: Way, line: watch::Receiver<Line>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        connections.spawn(connection(client, way.clone(), line.clone()));
    }
}

/// Dropping the streams closes them: that is how a cut works.
async fn connection(client: TcpStream, way: Way, mut line: watch::Receiver<Line>) {
    let Line { cuts, strandings, mode, .. } = *line.borrow();
    let late = line.borrow().hushed.is_some();
    if mode == Mode::Cut {
        return;
    }
    let (carrier, birth) = (line.clone(), Birth { cuts, strandings, port: 0, late });
    tokio::select! {
        _ = line.wait_for(|line| line.cuts != cuts) => {}
        _ = carry(client, &way, carrier, birth) => {}
    }
}

async fn carry(mut client: TcpStream, way: &Way, mut line: watch::Receiver<Line>, birth: Birth) -> io::Result<()> {
    passable(&mut line, birth).await?;
    let mut server = timeout(DIAL_LIMIT, way.dial()).await??;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let birth = Birth { port: server.local_addr()?.port(), ..birth };
    let (client_reads, client_writes) = client.split();
    let (server_reads, server_writes) = server.split();
    let reader = way.reader.as_ref().map(|reader| Mutex::new(reader()));
    let read = |bytes: &[u8], side: fn(&mut dyn ReadAlong, &[u8])| {
        if let Some(reader) = &reader {
            side(reader.lock().unwrap_or_else(PoisonError::into_inner).as_mut(), bytes);
        }
    };
    // The first error ends both ways: a side that is gone leaves the other nobody to talk to.
    tokio::try_join!(
        pump(client_reads, server_writes, line.clone(), birth, None, |bytes| {
            if way.is_cut_by(bytes) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            read(bytes, |reader, bytes| reader.forth(bytes));
            Ok(())
        }),
        pump(server_reads, client_writes, line, birth, Some(way), |bytes| {
            read(bytes, |reader, bytes| reader.back(bytes));
            Ok(())
        }),
    )?;
    Ok(())
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut line: watch::Receiver<Line>,
    birth: Birth,
    back: Option<&Way>,
    read: impl Fn(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let limit = line.borrow().most_at_a_time(back.is_some());
        let length = from.read(&mut chunk[..limit]).await?;
        let Line { delay, bytes_a_second, .. } = *line.borrow();
        if let Some(way) = back.filter(|_| bytes_a_second > 0) {
            way.carries(length, bytes_a_second).await;
        }
        if !delay.is_zero() {
            sleep(delay).await;
        }
        // After reading and not before, so that nothing that comes in after a cut is still carried.
        passable(&mut line, birth).await?;
        match length {
            0 => return to.shutdown().await,
            length => {
                read(&chunk[..length])?;
                to.write_all(&chunk[..length]).await?;
                if let Some(way) = back {
                    way.carried.send_modify(|carried| *carried += length as u64);
                }
            }
        }
    }
}

/// Waits while the line is silent; for ever, where the connection is half-open and nothing cuts it.
async fn passable(line: &mut watch::Receiver<Line>, birth: Birth) -> io::Result<()> {
    let carries = |line: &Line| {
        let hushed = line.hushed.as_ref().is_some_and(|ports| birth.late || ports.contains(&birth.port));
        line.mode != Mode::Silent && line.strandings == birth.strandings && !hushed
    };
    let now = line.wait_for(|line| carries(line) || line.cuts != birth.cuts).await;
    match now {
        Ok(line) if line.cuts == birth.cuts => Ok(()),
        _ => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long to watch for what must not come.
    const QUIET: Duration = Duration::from_millis(150);
    /// How long to wait for what must come.
    const SOON: Duration = Duration::from_secs(5);

    /// Says back what it hears, and counts the connections that it holds.
    async fn echo() -> (String, watch::Receiver<usize>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let (open, count) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let open = open.clone();
                tokio::spawn(async move {
                    open.send_modify(|count| *count += 1);
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    open.send_modify(|count| *count -= 1);
                });
            }
        });
        (address, count)
    }

    async fn open(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(proxy.address()).await.expect("the proxy accepts")
    }

    async fn says_back(stream: &mut TcpStream) -> bool {
        stream.write_all(b"ping").await.is_ok() && hears(stream).await
    }

    async fn hears(stream: &mut TcpStream) -> bool {
        let mut answer = [0; 4];
        matches!(timeout(SOON, stream.read_exact(&mut answer)).await, Ok(Ok(_))) && answer == *b"ping"
    }

    #[tokio::test]
    async fn bytes_pass_until_the_line_is_cut_and_again_after() {
        let proxy = Proxy::start(echo().await.0).await.expect("a proxy");
        assert!(says_back(&mut open(&proxy).await).await);
        proxy.cut();
        assert!(!says_back(&mut open(&proxy).await).await);
        proxy.restore();
        assert!(says_back(&mut open(&proxy).await).await);
    }

    #[tokio::test]
    async fn a_cut_closes_what_is_open_on_both_sides_though_it_is_restored_at_once() {
        let (upstream, mut count) = echo().await;
        let proxy = Proxy::start(upstream).await.expect("a proxy");
        let mut stream = open(&proxy).await;
        assert!(says_back(&mut stream).await);
        proxy.cut();
        proxy.restore();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
        timeout(SOON, count.wait_for(|count| *count == 0)).await.expect("in time").expect("the upstream side closes");
    }

    #[tokio::test]
    async fn nothing_that_is_sent_after_a_cut_reaches_the_upstream() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let proxy = Proxy::start(address).await.expect("a proxy");
        let mut client = open(&proxy).await;
        let (mut server, _) = listener.accept().await.expect("the proxy dials");
        proxy.cut();
        let _ = client.write_all(b"late").await;
        let mut heard = Vec::new();
        let _ = timeout(SOON, server.read_to_end(&mut heard)).await.expect("the connection ends");
        assert!(heard.is_empty());
    }

    #[tokio::test]
    async fn what_cuts_the_line_does_not_reach_the_upstream_and_passes_the_next_time() {
        let proxy = Proxy::start(echo().await.0).await.expect("a proxy");
        let (mut one, mut other) = (open(&proxy).await, open(&proxy).await);
        proxy.cut_at("in");
        one.write_all(b"else").await.expect("the connection is open");
        one.read_exact(&mut [0; 4]).await.expect("it is said back");
        assert!(!says_back(&mut one).await);
        assert_eq!(other.read(&mut [0; 1]).await.unwrap_or(0), 0);
        proxy.restore();
        assert!(says_back(&mut open(&proxy).await).await);
    }

    #[tokio::test]
    async fn a_black_hole_keeps_connections_open_and_silent_until_it_is_restored() {
        let proxy = Proxy::start(echo().await.0).await.expect("a proxy");
        let mut old = open(&proxy).await;
        assert!(says_back(&mut old).await);
        proxy.black_hole();
        let mut new = open(&proxy).await;
        for stream in [&mut old, &mut new] {
            stream.write_all(b"ping").await.expect("the connection is open");
            assert!(timeout(QUIET, stream.read(&mut [0; 1])).await.is_err(), "neither answered nor closed");
        }
        proxy.restore();
        assert!(hears(&mut old).await && hears(&mut new).await);
    }

    #[tokio::test]
    async fn a_cut_ends_a_black_hole_and_what_it_held() {
        let proxy = Proxy::start(echo().await.0).await.expect("a proxy");
        proxy.black_hole();
        let mut stream = open(&proxy).await;
        stream.write_all(b"ping").await.expect("the connection is open");
        proxy.cut();
        assert!(!hears(&mut stream).await);
    }

    #[tokio::test]
    async fn a_delay_holds_each_chunk_both_ways() {
        let proxy = Proxy::start(echo().await.0).await.expect("a proxy");
        let mut stream = open(&proxy).await;
        proxy.delay(Duration::from_millis(40));
        let sent = Instant::now();
        assert!(says_back(&mut stream).await);
        assert!(sent.elapsed() >= Duration::from_millis(80));
        proxy.delay(Duration::ZERO);
        assert!(says_back(&mut stream).await);
    }

    #[tokio::test]
    async fn a_stranded_connection_stays_open_and_silent_while_new_ones_work() {
        let proxy = Proxy::start(echo().await.0).await.expect("a proxy");
        let mut old = open(&proxy).await;
        assert!(says_back(&mut old).await);
        proxy.strand();
        proxy.restore();
        old.write_all(b"ping").await.expect("the connection is open");
        assert!(timeout(QUIET, old.read(&mut [0; 1])).await.is_err(), "neither answered nor closed");
        assert!(says_back(&mut open(&proxy).await).await);
        proxy.cut();
        assert_eq!(old.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn a_line_that_trickles_carries_a_few_bytes_at_a_time() {
        let proxy = Proxy::start(echo().await.0).await.expect("a proxy");
        let mut stream = open(&proxy).await;
        proxy.trickle(1, Duration::from_millis(20));
        let sent = Instant::now();
        assert!(says_back(&mut stream).await);
        assert!(sent.elapsed() >= Duration::from_millis(4 * 20));
        proxy.trickle(1, Duration::ZERO);
        assert!(says_back(&mut stream).await);
    }

    #[tokio::test]
    async fn a_narrow_line_takes_its_bytes_a_second_and_keeps_little_of_what_waits() {
        const SENT: usize = 12 << 20;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let proxy = Proxy::narrow(address, 100_000).await.expect("a proxy");
        let mut client = open(&proxy).await;
        let (mut server, _) = listener.accept().await.expect("the proxy dials");
        let sending = tokio::spawn(async move { server.write_all(&vec![b'x'; SENT]).await });
        let began = Instant::now();
        client.read_exact(&mut vec![0; 50_000]).await.expect("half a second's bytes");
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(450) && took < SOON, "{took:?}");
        assert!(!sending.is_finished(), "nothing took what was not read");
        assert!(proxy.has_carried(50_000, SOON).await && proxy.carried() < 1_000_000, "{}", proxy.carried());
        proxy.pace(0);
        timeout(SOON * 6, client.read_exact(&mut vec![0; SENT - 50_000])).await.expect("in time").expect("the rest");
    }

    #[tokio::test]
    async fn the_connections_of_a_narrow_line_share_what_it_carries() {
        let proxy = Proxy::narrow(echo().await.0, 20_000).await.expect("a proxy");
        let (mut one, mut other) = (open(&proxy).await, open(&proxy).await);
        let began = Instant::now();
        for stream in [&mut one, &mut other] {
            stream.write_all(&[0; 5_000]).await.expect("what goes forth is quick");
        }
        let (mut ones, mut others) = ([0; 5_000], [0; 5_000]);
        let both = async { tokio::try_join!(one.read_exact(&mut ones), other.read_exact(&mut others)) };
        timeout(SOON, both).await.expect("in time").expect("both are said back");
        assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_name_leads_new_connections_elsewhere_and_old_ones_stay() {
        let (first, _count) = echo().await;
        let (second, count_second) = echo().await;
        let proxy = Proxy::start(first).await.expect("a proxy");
        let mut stays = open(&proxy).await;
        assert!(says_back(&mut stays).await);
        proxy.lead_to(second);
        let mut goes = open(&proxy).await;
        assert!(says_back(&mut goes).await && says_back(&mut stays).await);
        assert_eq!(*count_second.borrow(), 1);
    }

    #[tokio::test]
    async fn only_a_connection_that_is_hushed_is_silent() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let proxy = Proxy::start(address).await.expect("a proxy");
        let mut ends = Vec::new();
        for _ in 0..2 {
            let mut client = open(&proxy).await;
            client.write_all(b"ping").await.expect("it takes it");
            let (mut server, peer) = listener.accept().await.expect("a connection");
            server.read_exact(&mut [0; 4]).await.expect("what was said");
            ends.push((client, server, peer.port()));
        }
        proxy.hush(BTreeSet::from([ends[0].2]));
        for (_, server, _) in &mut ends {
            server.write_all(b"ping").await.expect("it takes it");
        }
        assert!(hears(&mut ends[1].0).await);
        let mut late = open(&proxy).await;
        late.write_all(b"ping").await.expect("it takes it");
        assert!(timeout(QUIET, listener.accept()).await.is_err(), "a new one is silent, too");
        assert!(timeout(QUIET, ends[0].0.read(&mut [0; 4])).await.is_err());
        proxy.restore();
        assert!(hears(&mut ends[0].0).await);
    }

    struct Heard(Arc<Mutex<String>>);

    impl ReadAlong for Heard {
        fn forth(&mut self, bytes: &[u8]) {
            self.0.lock().expect("no panic").push_str(&format!(">{}", String::from_utf8_lossy(bytes)));
        }

        fn back(&mut self, bytes: &[u8]) {
            self.0.lock().expect("no panic").push_str(&format!("<{}", String::from_utf8_lossy(bytes)));
        }
    }

    #[tokio::test]
    async fn who_reads_along_sees_both_ways_and_nothing_that_was_cut_off() {
        let heard = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&heard);
        let reader = move || Box::new(Heard(Arc::clone(&shared))) as Box<dyn ReadAlong>;
        let proxy = Proxy::read_along(echo().await.0, reader).await.expect("a proxy");
        let mut stream = open(&proxy).await;
        assert!(says_back(&mut stream).await);
        proxy.cut();
        let _ = stream.write_all(b"late").await;
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
        assert_eq!(*heard.lock().expect("no panic"), ">ping<ping");
    }

    #[tokio::test]
    async fn the_upstream_side_closes_with_the_client() {
        let (upstream, mut count) = echo().await;
        let proxy = Proxy::start(upstream).await.expect("a proxy");
        let mut stream = open(&proxy).await;
        assert!(says_back(&mut stream).await);
        drop(stream);
        timeout(SOON, count.wait_for(|count| *count == 0)).await.expect("in time").expect("the upstream lives");
    }

    #[tokio::test]
    async fn a_dropped_proxy_closes_its_connections_and_its_port() {
        let (upstream, mut count) = echo().await;
        let proxy = Proxy::start(upstream).await.expect("a proxy");
        let address = proxy.address();
        let mut stream = open(&proxy).await;
        assert!(says_back(&mut stream).await);
        drop(proxy);
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
        timeout(SOON, count.wait_for(|count| *count == 0)).await.expect("in time").expect("the upstream lives");
        assert!(TcpStream::connect(address).await.is_err());
    }
}
