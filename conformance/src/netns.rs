//! A line that goes down for real: a network namespace with a pair of virtual interfaces to this machine, of which one end can be taken
//! down. Wants Linux, root and iproute2.
//!
//! What dials in here has its end of the connection behind that line: what is sent while the line is down is lost, and the kernels on both
//! sides find that out by themselves. A proxy that keeps silent cannot do that, for its own kernel confirms all that it is sent.

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::Command,
    sync::OnceLock,
    thread,
};

/// Where iproute2 keeps the namespaces that have names.
const NAMED: &str = "/run/netns";
/// The addresses are of the block for measurements between networks (RFC 2544), which nobody routes.
const NETWORK: [u8; 2] = [198, 18];

/// A network namespace behind a line of its own; it goes when this is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// The interface on this machine's side; the other's name is the same with another letter.
    near: String,
    far: String,
    host: Ipv4Addr,
}

impl Namespace {
    /// Whether there can be one; asked once.
    pub fn possible() -> bool {
        static POSSIBLE: OnceLock<bool> = OnceLock::new();
        *POSSIBLE.get_or_init(|| Self::create().is_ok())
    }

    /// Makes one, with its line up.
    ///
    /// # Errors
    /// Where this machine does not let it be made, with what was said.
    pub fn create() -> io::Result<Self> {
        let mark = rand::random::<u32>();
        // Of the block's second half, so that nobody's measurement on the first is in the way; four addresses to a line.
        let [_, _, third, fourth] = mark.to_be_bytes();
        let at = |last: u8| Ipv4Addr::new(NETWORK[0], NETWORK[1] + 1, third, (fourth & !3) + last);
        let (host, inside) = (at(1), at(2));
        let name = format!("notify-{mark:08x}");
        run(&["netns", "add", &name])?;
        // From here on it is cleared away, whatever fails.
        let made = Self { name, near: format!("nca{mark:08x}"), far: format!("ncb{mark:08x}"), host };
        let Self { name, near, far, .. } = &made;
        run(&["link", "add", near, "type", "veth", "peer", "name", far, "netns", name])?;
        run(&["addr", "add", &format!("{host}/30"), "dev", near])?;
        run(&["link", "set", near, "up"])?;
        run(&["-n", name, "addr", "add", &format!("{inside}/30"), "dev", far])?;
        made.up()?;
        Ok(made)
    }

    /// This machine, as it is seen from the namespace.
    pub fn host(&self) -> IpAddr {
        self.host.into()
    }

    /// Takes the line down; returns once it is.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub fn down(&self) -> io::Result<()> {
        run(&["-n", &self.name, "link", "set", &self.far, "down"])
    }

    /// Takes it up again.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub fn up(&self) -> io::Result<()> {
        run(&["-n", &self.name, "link", "set", &self.far, "up"])
    }

    /// A connection from within the namespace. The thread that makes it moves there and is never seen again.
    ///
    /// # Errors
    /// Where the thread cannot move there, or nobody answers at `address`.
    pub fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let namespace = File::open(Path::new(NAMED).join(&self.name))?;
        let dialling = thread::spawn(move || {
            enter(&namespace)?;
            let stream = TcpStream::connect(address)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        });
        dialling.join().unwrap_or_else(|_| Err(io::Error::other("the thread that dials has ended")))
    }
}

/// Moves this thread into a network namespace.
#[cfg(target_os = "linux")]
fn enter(namespace: &File) -> io::Result<()> {
    use std::os::fd::AsFd;

    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

#[cfg(not(target_os = "linux"))]
fn enter(_: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The interfaces go with either end. What cannot be cleared away is no reason to stop.
        let _ = run(&["link", "del", &self.near]);
        let _ = run(&["netns", "del", &self.name]);
    }
}

fn run(args: &[&str]) -> io::Result<()> {
    let done = Command::new("ip").args(args).output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(io::Error::other(format!("ip {}: {}", args.join(" "), said.trim())))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        time::Duration,
    };

    use super::*;

    #[test]
    fn a_line_that_is_down_loses_what_is_sent_and_tcp_makes_it_good_when_it_is_up() {
        let Ok(namespace) = Namespace::create() else {
            eprintln!("not run: no network namespace is to be had here (root and iproute2)");
            return;
        };
        let listener = TcpListener::bind((namespace.host(), 0)).expect("a port");
        let mut inside = namespace.dial(listener.local_addr().expect("its address")).expect("a connection");
        let (mut outside, _) = listener.accept().expect("it arrives");
        inside.set_nonblocking(false).expect("a socket");
        inside.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket");
        namespace.down().expect("down");
        outside.write_all(b"x").expect("the kernel takes it");
        let mut byte = [0];
        assert!(inside.read(&mut byte).is_err(), "nothing passes");
        namespace.up().expect("up");
        inside.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
        inside.read_exact(&mut byte).expect("it is sent again");
        assert_eq!(byte, *b"x");
    }
}
