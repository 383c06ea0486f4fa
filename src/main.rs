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
    /// Make, rotate or destroy a tenant's pseudonymisation key.
    Keys {
        #[command(subcommand)]
        action: KeysAction,
    },
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

fn main() -> ExitCode {
    let cli = Cli::parse();
    lethe::ops::log::start("info");
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
        Command::Status { tenant, json } => commands::status::status(&config()?, tenant.as_ref(), json),
        Command::Topics { action: TopicsAction::Apply { dry_run, missing_only } } => commands::topics::apply(&config()?, dry_run, missing_only),
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
