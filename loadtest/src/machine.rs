//! What the operating system tells of processes and of this machine. Where it does not, `None`.

use std::{fs, io, process::Command};

use rustix::{
    param::clock_ticks_per_second,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

/// Files that are open for other ends than connections.
const OTHER_FILES: u64 = 200;

/// What a process has used so far, and uses now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// User and system time in seconds.
    pub cpu_s: f64,
    /// Memory in RAM, in bytes.
    pub rss_bytes: u64,
}

/// The use of a process; `None` for the harness's own.
pub fn usage(process: Option<u32>) -> Option<Usage> {
    let folder = process.map_or_else(|| "self".to_owned(), |id| id.to_string());
    let stat = fs::read_to_string(format!("/proc/{folder}/stat")).ok()?;
    parse_stat(&stat, clock_ticks_per_second() as f64, rustix::param::page_size() as u64)
}

/// The name of the command stands in parentheses and may hold anything; what follows is numbers.
fn parse_stat(stat: &str, ticks_per_second: f64, page_bytes: u64) -> Option<Usage> {
    let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let number = |place: usize| fields.get(place - 3)?.parse::<u64>().ok();
    Some(Usage { cpu_s: (number(14)? + number(15)?) as f64 / ticks_per_second, rss_bytes: number(24)? * page_bytes })
}

/// Memory that the kernel holds for its own objects and for what TCP has not handed on, of the whole machine. Both ends of a
/// connection on this machine are in it.
pub fn kernel_bytes() -> Option<u64> {
    let (memory, sockets) = (fs::read_to_string("/proc/meminfo").ok()?, fs::read_to_string("/proc/net/sockstat").ok()?);
    Some(parse_slab(&memory)? + parse_tcp_pages(&sockets)? * rustix::param::page_size() as u64)
}

fn parse_slab(memory: &str) -> Option<u64> {
    let kib = memory.lines().find_map(|line| line.strip_prefix("Slab:"))?;
    Some(kib.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

fn parse_tcp_pages(sockets: &str) -> Option<u64> {
    let tcp = sockets.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    tcp.rsplit_once(" mem ")?.1.trim().parse().ok()
}

/// How many cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The processor's name.
pub fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(name.trim_start_matches([' ', '\t', ':']).to_owned())
}

/// The commit of the checkout that the harness is called in, with `-dirty` where it has changes.
pub fn commit() -> Option<String> {
    let output = Command::new("git").args(["describe", "--always", "--dirty", "--exclude=*"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// Raises the limit on open files to the hard limit; servers that are started afterwards inherit it.
///
/// # Errors
/// Where the system refuses.
pub fn raise_open_files() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

/// Refuses a run that needs more open files than there may be.
///
/// # Errors
/// With words for the user.
pub fn check_open_files(connections: u64) -> Result<(), String> {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return Ok(()) };
    if connections + OTHER_FILES <= limit {
        return Ok(());
    }
    Err(format!(
        "{connections} connections need about {} open files, and this process may have {limit}; raise the hard limit \
         (ulimit -Hn), or ask for {} connections at most",
        connections + OTHER_FILES,
        limit.saturating_sub(OTHER_FILES)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_and_memory_are_read_whatever_the_name() {
        let stat = "42 (a) b (c) S 1 2 3 0 -1 4 100 0 0 0 250 50 7 7 20 0 3 0 99 123456 10 18446744073709551615 1";
        assert_eq!(parse_stat(stat, 100.0, 4_096), Some(Usage { cpu_s: 3.0, rss_bytes: 40_960 }));
        assert_eq!(parse_stat("42 (x) S 1", 100.0, 4_096), None);
        assert!(usage(None).is_some_and(|own| own.rss_bytes > 100_000));
    }

    #[test]
    fn what_the_kernel_holds_is_read_from_what_it_tells() {
        assert_eq!(parse_slab("MemFree:  5 kB\nSlab:             915268 kB\n"), Some(915_268 * 1024));
        assert_eq!(
            parse_tcp_pages("sockets: used 95\nTCP: inuse 66 orphan 0 tw 1 alloc 66 mem 12\nUDP: inuse 0 mem 7\n"),
            Some(12)
        );
        assert_eq!((parse_slab(""), parse_tcp_pages("TCP: inuse 1")), (None, None));
    }

    #[test]
    fn a_run_that_would_exceed_the_open_files_is_refused_with_the_way_out() {
        raise_open_files().expect("it may be raised");
        check_open_files(10).expect("ten are few");
        let refused = check_open_files(u64::MAX / 2).expect_err("too many");
        assert!(refused.contains("ulimit -Hn"), "{refused}");
    }
}
