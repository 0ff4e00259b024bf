//! Keeps the proxies that the environment names away from the target. Knows nothing of clients.
//!
//! The suite's own HTTP client uses none. rust_socketio builds one of its own, which takes them from the environment and offers
//! no way to say otherwise; a process cannot change its environment safely once it has threads. So the binary begins anew with
//! an environment that excepts every host, and what is the tester's own (the target's build, its commands) gets the old one.

use std::{collections::BTreeMap, env, ffi::OsString, io, os::unix::process::CommandExt, process::Command};

/// What names a proxy.
const PROXIES: [&str; 6] = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// What names the hosts that are reached without one.
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// Every host: names, and addresses, which no name's pattern matches.
const ALL: &str = "*,0.0.0.0/0,::/0";
/// Before the name of a variable: what it was before, empty where it was not set.
const BEFORE: &str = "NOTIFY_CONFORMANCE_BEFORE_";

/// Begins the process anew without proxies, where the environment has any; else returns at once.
///
/// # Errors
/// Where the process cannot be begun anew.
pub fn set_aside() -> io::Result<()> {
    let Some(changed) = without_proxies(|name| env::var_os(name)) else { return Ok(()) };
    let mut arguments = env::args_os();
    let mut anew = Command::new(env::current_exe()?);
    anew.envs(changed);
    if let Some(own_name) = arguments.next() {
        anew.arg0(own_name);
    }
    // Returns only where it fails.
    Err(anew.args(arguments).exec())
}

/// What has to change for no host to be reached by a proxy; `None` where that is so.
fn without_proxies(get: impl Fn(&str) -> Option<OsString>) -> Option<BTreeMap<String, OsString>> {
    let named = PROXIES.iter().any(|name| get(name).is_some_and(|proxy| !proxy.is_empty()));
    let excepted = EXCEPTIONS.iter().all(|name| get(name).is_some_and(|hosts| hosts == ALL));
    if !named || excepted {
        return None;
    }
    let before = EXCEPTIONS.map(|name| (format!("{BEFORE}{name}"), get(name).unwrap_or_default()));
    Some(EXCEPTIONS.map(|name| (name.to_owned(), ALL.into())).into_iter().chain(before).collect())
}

/// The environment as the tester has set it.
pub fn testers_own() -> BTreeMap<OsString, OsString> {
    restored(env::vars_os().collect())
}

fn restored(mut environment: BTreeMap<OsString, OsString>) -> BTreeMap<OsString, OsString> {
    for name in EXCEPTIONS {
        match environment.remove(&OsString::from(format!("{BEFORE}{name}"))) {
            Some(hosts) if hosts.is_empty() => drop(environment.remove(&OsString::from(name))),
            Some(hosts) => drop(environment.insert(name.into(), hosts)),
            None => {}
        }
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> BTreeMap<OsString, OsString> {
        variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
    }

    fn changed(variables: &[(&str, &str)]) -> Option<BTreeMap<String, OsString>> {
        let environment = environment(variables);
        without_proxies(|name| environment.get(&OsString::from(name)).cloned())
    }

    #[test]
    fn an_environment_without_proxies_stays_as_it_is() {
        assert_eq!(changed(&[]), None);
        assert_eq!(changed(&[("NO_PROXY", "intranet.example"), ("HTTP_PROXY", "")]), None);
        assert_eq!(changed(&[("http_proxy", "http://p:1"), ("NO_PROXY", ALL), ("no_proxy", ALL)]), None);
    }

    #[test]
    fn every_host_is_excepted_and_what_was_before_comes_back() {
        for proxy in PROXIES {
            let before = [(proxy, "http://proxy.example:3128"), ("no_proxy", "intranet.example")];
            let mut anew = environment(&before);
            anew.extend(changed(&before).expect(proxy).into_iter().map(|(name, value)| (name.into(), value)));
            for name in EXCEPTIONS {
                assert_eq!(anew[&OsString::from(name)], *ALL, "{proxy}");
            }
            assert_eq!(without_proxies(|name| anew.get(&OsString::from(name)).cloned()), None, "it begins anew once");
            assert_eq!(restored(anew), environment(&before), "{proxy}");
        }
    }
}
