//! Parses the command line, loads the config, calls one command, returns its exit code.

use clap::{Args, Parser, Subcommand};
use lethe::commands::{self, Failure};
use lethe::config::{Config, load};
use lethe::model::tenant::TenantId;
use std::path::PathBuf;
use std::process::ExitCode;

/// Also takes the place of malloc for librdkafka.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Makes personal data on Apache Kafka safe to use, and then forgets it, provably.
#[derive(Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Cli {
    /// Configuration file; every scalar field of a table can be overridden by LETHE_<TABLE>__<FIELD>.
    #[arg(long, global = true, default_value = "config.toml", env = "LETHE_CONFIG")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Consume raw events, transform them, produce pseudonymised and destination records, exactly once.
    Run(UntilCaughtUp),
    /// Enforce every window: tombstones, and the bytes really gone.
    Retain(UntilCaughtUp),
    /// Count events by hour and day, anonymously: no count is of few people.
    Aggregate(UntilCaughtUp),
    /// Show every governed topic: window, horizon, oldest record, next due, pending.
    Status {
        /// One tenant only.
        #[arg(long, value_parser = tenant_id)]
        tenant: Option<TenantId>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make and mend topics.
    Topics {
        #[command(subcommand)]
        action: TopicsAction,
    },
    /// Stop producing records of a tenant, or of all: they wait in the raw topics.
    Pause(Whom),
    /// Go on where `pause` stopped.
    Resume(Whom),
    /// Limit how many events per second each worker takes of a tenant, or of each.
    RateLimit {
        #[command(flatten)]
        whom: Whom,
        /// A number from 1, or `off`.
        #[arg(long, value_parser = events_per_second)]
        events_per_second: Limit,
    },
    /// Make, rotate or destroy a tenant's pseudonymisation key.
    Keys {
        #[command(subcommand)]
        action: KeysAction,
    },
    /// Write synthetic events, made from a seed, to a file or to a tenant's raw topic.
    Generate(Generate),
    /// Show the job at work on synthetic events, with nothing to install.
    Demo(Demo),
}

#[derive(Args)]
struct Generate {
    /// Tenant id.
    #[arg(long, value_parser = tenant_id)]
    tenant: TenantId,
    /// How many events.
    #[arg(long)]
    events: u64,
    /// The same seed gives the same events, but for their times, which end now.
    #[arg(long)]
    seed: u64,
    /// Write JSON lines to this file (`-`: standard output) and not to the tenant's first raw topic; no config is needed then.
    #[arg(long)]
    output: Option<PathBuf>,
}

#[derive(Args)]
struct Demo {
    /// Use the configured brokers (LETHE_KAFKA__BOOTSTRAP_SERVERS) and not a mock broker in this process.
    #[arg(long)]
    kafka: bool,
}

#[derive(Subcommand)]
enum TopicsAction {
    /// Make the topics that the config wants and mend their settings.
    Apply {
        /// Change nothing; explain each setting.
        #[arg(long)]
        dry_run: bool,
        /// Make what is missing, leave the settings of what is there.
        #[arg(long)]
        missing_only: bool,
    },
}

#[derive(Args)]
struct UntilCaughtUp {
    /// End once what was there at the start is done.
    #[arg(long)]
    until_caught_up: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// Tenant id.
    #[arg(long, value_parser = tenant_id)]
    tenant: Option<TenantId>,
    /// Every tenant.
    #[arg(long)]
    all: bool,
}

/// `None`: off.
#[derive(Clone, Copy)]
struct Limit(Option<u32>);

#[derive(Subcommand)]
enum KeysAction {
    /// Make the first key of a tenant (and the signing key, if there is none).
    New(KeysTenant),
    /// Begin a new key epoch: rows received from now on get pseudonyms under the new key.
    Rotate(KeysTenant),
    /// Wipe all keys of a tenant: its pseudonyms can then be linked to nobody.
    Destroy(KeysTenant),
}

#[derive(Args)]
struct KeysTenant {
    /// Tenant id.
    #[arg(long, value_parser = tenant_id)]
    tenant: TenantId,
}

fn tenant_id(text: &str) -> Result<TenantId, String> {
    TenantId::try_from(text.to_owned())
}

fn events_per_second(text: &str) -> Result<Limit, String> {
    match (text, text.parse::<u32>()) {
        ("off", _) => Ok(Limit(None)),
        (_, Ok(n)) if n > 0 => Ok(Limit(Some(n))),
        _ => Err("must be a number from 1, or off; to stop altogether, `lethe pause`".into()),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // A demo is for people: only what goes wrong is logged.
    lethe::ops::log::start(if matches!(cli.command, Command::Demo(_)) { "warn" } else { "info" });
    match call(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("lethe: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn call(cli: Cli) -> Result<(), Failure> {
    let config = || -> Result<Config, Failure> { Ok(load(&cli.config, std::env::vars())?) };
    match cli.command {
        Command::Run(flags) => commands::run::run(config()?, flags.until_caught_up),
        Command::Retain(flags) => commands::retain::retain(&config()?, flags.until_caught_up),
        Command::Aggregate(flags) => commands::aggregate::aggregate(&config()?, flags.until_caught_up),
        Command::Status { tenant, json } => commands::status::status(&config()?, tenant.as_ref(), json),
        Command::Topics { action: TopicsAction::Apply { dry_run, missing_only } } => {
            commands::topics::apply(&config()?, dry_run, missing_only)
        }
        Command::Generate(g) => {
            let wish = commands::generate::Wish { tenant: g.tenant, events: g.events, seed: g.seed };
            match g.output {
                Some(path) => commands::generate::to_file(&wish, &path),
                None => commands::generate::to_topic(&config()?, &wish),
            }
        }
        Command::Demo(d) => commands::demo::demo(&cli.config, d.kafka),
        Command::Pause(whom) => commands::orders::pause(&config()?, whom.tenant.as_ref(), true),
        Command::Resume(whom) => commands::orders::pause(&config()?, whom.tenant.as_ref(), false),
        Command::RateLimit { whom, events_per_second: Limit(limit) } => {
            commands::orders::rate_limit(&config()?, whom.tenant.as_ref(), limit)
        }
        Command::Keys { action } => {
            let config = config()?;
            match action {
                KeysAction::New(k) => commands::keys::new(&config, &k.tenant),
                KeysAction::Rotate(k) => commands::keys::rotate(&config, &k.tenant),
                KeysAction::Destroy(k) => commands::keys::destroy(&config, &k.tenant),
            }
        }
    }
}
