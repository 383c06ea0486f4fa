//! Parses the command line, loads the config, calls one command, returns its exit code.

mod arguments;

use crate::commands::{self, Failure, Load};
use crate::config::{Config, load};
use crate::ops::say::{say_aside, show};
use crate::ops::{core_files, log, say};
use arguments::{AuditAction, CertificateAction, Cli, Command, Exported, HoldScope, KeysAction, Limit, TopicsAction};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use std::ffi::OsString;
use std::sync::Arc;

/// Does what the command line asks for and returns the exit code: 0 done, 1 failed, 2 usage or config error.
///
/// `arguments` begin with the program's name. What is wrong goes to standard error, one line.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(told) => {
            // A closed pipe has nobody to tell.
            let told = without_values(told);
            let _ = told.print();
            return if told.use_stderr() { 2 } else { 0 };
        }
    };
    let private = core_files::forbid();
    // A demo is for people: only what goes wrong is logged.
    // A config that cannot be read is told of by the command that needs it.
    let config = load(&cli.config, std::env::vars()).ok();
    let format = config.as_ref().map(|config| config.log.format).unwrap_or_default();
    let is_job = matches!(cli.command, Command::Run(_) | Command::Retain(_) | Command::Aggregate(_) | Command::Sessions(_));
    // What a client heard in between is for those who watch a job: who gave a command is told how it ended.
    let what = match cli.command {
        Command::Demo(_) => "warn",
        _ if is_job => "info",
        _ => "info,lethe::kafka::client=error",
    };
    log::start(what, format);
    if let Err(fault) = private {
        tracing::warn!("{fault}");
    }
    match call(cli) {
        Ok(()) => match say::lost() {
            None => 0,
            Some(cause) => {
                say_aside!("lethe: standard output cannot be written: {cause}");
                1
            }
        },
        Err(failure) => {
            let failure = match &config {
                Some(config) if !is_job => failure.explained(config),
                _ => failure,
            };
            say_aside!("lethe: {failure}");
            failure.exit_code()
        }
    }
}

/// The error without what was given: a value in the wrong place may be somebody's e-mail address. Names of options stay.
fn without_values(mut told: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue, ContextKind::InvalidSubcommand] {
        let is_value = matches!(told.get(kind), Some(ContextValue::String(text)) if !text.starts_with("--"));
        if is_value && told.kind() != ErrorKind::MissingRequiredArgument {
            told.insert(kind, ContextValue::String("…".into()));
        }
    }
    told
}

fn call(cli: Cli) -> Result<(), Failure> {
    let path = cli.config.clone();
    let load: Load = Arc::new(move || Ok(load(&path, std::env::vars())?));
    let config = || load();
    match cli.command {
        Command::Run(flags) => commands::run::run(&load, &cli.config, flags.until_caught_up),
        Command::Retain(flags) => commands::retain::retain(&load, &cli.config, flags.until_caught_up),
        Command::Aggregate(flags) => commands::aggregate::aggregate(&load, &cli.config, flags.until_caught_up),
        Command::Status { request: Some(request), json, .. } => commands::status_request::status(&config()?, &request, json),
        Command::Status { tenant, json, .. } => commands::status::status(&config()?, tenant.as_ref(), json),
        Command::Doctor { json, role } => {
            let config = config()?;
            commands::doctor::doctor(&config, &commands::acls::roles(&config, &role)?, json)
        }
        Command::Topics { action: TopicsAction::Acls { role, tenant, command } } => {
            commands::acls::acls(&config()?, &commands::acls::Wish { role, tenant, command })
        }
        Command::Sessions(flags) => commands::sessions::sessions(&load, &cli.config, flags.until_caught_up),
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
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "lethe", &mut script);
            show!("{}", String::from_utf8_lossy(&script));
            Ok(())
        }
        Command::Demo(d) => commands::demo::demo(&cli.config, d.kafka),
        Command::Pause(whom) => commands::orders::pause(&config()?, whom.tenant.as_ref(), true),
        Command::Resume(whom) => commands::orders::pause(&config()?, whom.tenant.as_ref(), false),
        Command::Terminate { tenant, deadline } => commands::orders::terminate(&config()?, &tenant, &deadline),
        Command::RateLimit { whom, events_per_second: Limit(limit) } => {
            commands::orders::rate_limit(&config()?, whom.tenant.as_ref(), limit)
        }
        Command::Export(asked) => export(asked.what()?, &config()?),
        Command::Certificate { action: CertificateAction::Verify { file, public_key } } => {
            commands::proof::verify_certificate(&file, &public_key)
        }
        Command::Certificate { action: CertificateAction::Show { request, text } } => {
            commands::proof::show_certificate(&config()?, &request, text)
        }
        Command::Audit { action: AuditAction::Verify { expect_checkpoint, json } } => {
            commands::proof::verify_audit(&config()?, expect_checkpoint.as_deref(), json)
        }
        right @ (Command::Erase { .. }
        | Command::Restrict { .. }
        | Command::Withdraw { .. }
        | Command::OptOutOfSale(_)
        | Command::Hold { .. }
        | Command::Release { .. }) => order(right, &config()?),
        Command::Keys { action } => {
            let config = config()?;
            match action {
                KeysAction::New(k) => commands::keys::new(&config, &k.tenant),
                KeysAction::Rotate(k) => commands::keys::rotate(&config, &k.tenant),
                KeysAction::Destroy { tenant: k, not_in_config } => commands::keys::destroy(&config, &k.tenant, not_in_config),
            }
        }
    }
}

fn export(asked: Exported, config: &Config) -> Result<(), Failure> {
    match asked {
        Exported::Records(wish) => commands::export::export(config, &wish),
        Exported::Processing(tenant, json, output) => {
            commands::export::records_of_processing(config, tenant.as_ref(), json, output.as_deref())
        }
        Exported::Breach(tenant, from, to, output) => {
            commands::export::breach_scope(config, tenant.as_ref(), &from, &to, output.as_deref())
        }
    }
}

/// What people ask for, one directive each.
fn order(command: Command, config: &Config) -> Result<(), Failure> {
    match command {
        Command::Erase { who, linked } => {
            let (tenant, given) = who.given();
            commands::rights::erase(config, &tenant, &given, linked)
        }
        Command::Restrict { who, lift } => {
            let (tenant, given) = who.given();
            commands::rights::restrict(config, &tenant, &given, lift)
        }
        Command::Withdraw { who, purpose } => {
            let (tenant, given) = who.given();
            commands::rights::withdraw(config, &tenant, &given, purpose)
        }
        Command::OptOutOfSale(who) => {
            let (tenant, given) = who.given();
            commands::rights::opt_out(config, &tenant, &given)
        }
        Command::Hold { who, scope } => {
            let (tenant, given) = who.given();
            let HoldScope { category, from, to, incident, reason, until } = scope;
            commands::rights::hold(config, &tenant, &given, &commands::rights::HoldScope { category, from, to, reason, until, incident })
        }
        Command::Release { request } => commands::rights::release(config, &request),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(arguments: &[&str]) -> String {
        let refused = Cli::try_parse_from(["lethe"].iter().chain(arguments)).err().expect("a fault");
        without_values(refused).render().to_string()
    }

    #[test]
    fn what_was_given_in_the_wrong_place_is_not_told() {
        let value = "kq7x@kq7x.example";
        for arguments in [
            &["erase", "--tenant", "acme", value][..],
            &["erase", "--tenant", value, "--email", value],
            &["erase", "--tenant", "acme", "--emial", value],
            &["erase", "--tenant", "acme", &format!("--emial={value}")],
            &["withdraw", "--tenant", "acme", "--email", value, "--purpose", value],
            &["hold", "--tenant", "acme", "--category", value, "--reason", "r", "--until", "2027-01-31"],
            &["generate", "--tenant", "acme", "--events", value, "--seed", "1"],
            &["rate-limit", "--tenant", "acme", "--events-per-second", value],
            &["doctor", "--role", value],
            &[value],
            &["completions", value],
        ] {
            let told = told(arguments);
            assert!(!told.contains("kq7x"), "{told}");
        }
        assert!(told(&["erase", "--tenant", "acme", "--emial", value]).contains("--emial"), "the option is named");
        assert!(told(&["generate", "--tenant", "acme", "--events", "x", "--seed", "1"]).contains("--events"));
    }
}
