//! The command line: what may be said, and what is done about it. Returns exit codes and never exits by itself.

mod compare;
mod floor;
mod options;
mod rounds;
mod run;

use clap::{Parser, Subcommand};
use notify_conformance::exit::{no_verdict, usage};

use self::options::RunArgs;
use crate::scenarios::Kind;

/// A load harness for real-time notification servers.
///
/// Exit codes: 0 nothing was missing and every assertion holds; 1 something was missing, or an assertion does not hold;
/// 2 the command line is wrong; 3 the run could not be carried out, and says nothing about the server.
#[derive(Debug, Parser)]
#[command(name = "notify-load", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// N users with one connection each; every event goes to one of them.
    Unicast(RunArgs),
    /// One user with N connections; every event goes to all of them.
    Fanout(RunArgs),
    /// Zipf users with several devices each, one in ten offline until the end.
    Mixed(RunArgs),
    /// Nobody is connected: 50 events are queued for each of N users; then all connect and drain.
    Offline(RunArgs),
    /// N users with 50 queued events each reconnect at once and drain.
    Storm(RunArgs),
    /// Connect, be let in, leave: over and over.
    Handshake(RunArgs),
    /// Connections come at a rate, stay for two seconds and leave.
    Churn(RunArgs),
    /// As unicast, and one receiver in ten reads slowly or never, or one user's clients misbehave; the others must not notice.
    Slow(RunArgs),
    /// As unicast, and every receiver acknowledges.
    Ack(RunArgs),
    /// As unicast, gently and for long: watches the server's memory.
    Soak(RunArgs),
    /// Connections that do nothing but answer pings: what each costs.
    Idle(RunArgs),
    /// The highest rate at which p99 stays under --bound and nothing is lost.
    Ramp(RunArgs),
    /// Several targets back to back, in alternating order, over several rounds: medians, and ratios to one of them.
    Rounds(rounds::RoundsArgs),
    /// What has changed from A to B, JSON reports of the same load; 1 where something got worse beyond the noise.
    Compare(compare::CompareArgs),
    /// A server that only writes what it is sent: what the network and HTTP cost without any server. By PORT.
    Floor(floor::FloorArgs),
}

/// Does what the command line says; returns the exit code.
pub async fn run(cli: Cli) -> u8 {
    match cli.command {
        Command::Unicast(args) => run::run(Kind::Unicast, args).await,
        Command::Fanout(args) => run::run(Kind::Fanout, args).await,
        Command::Mixed(args) => run::run(Kind::Mixed, args).await,
        Command::Offline(args) => run::run(Kind::Offline, args).await,
        Command::Storm(args) => run::run(Kind::Storm, args).await,
        Command::Handshake(args) => run::run(Kind::Handshake, args).await,
        Command::Churn(args) => run::run(Kind::Churn, args).await,
        Command::Slow(args) => run::run(Kind::Slow, args).await,
        Command::Idle(args) => run::run(Kind::Idle, args).await,
        Command::Ack(args) => run::run(Kind::Ack, args).await,
        Command::Soak(args) => run::run(Kind::Soak, args).await,
        Command::Ramp(args) => run::run(Kind::Ramp, args).await,
        Command::Rounds(args) => rounds::run(args).await,
        Command::Compare(args) => compare::run(&args),
        Command::Floor(args) => floor::run(&args).await,
    }
}
