//! The command line's shape: commands, their arguments, and what `--help` says of each.

use crate::commands::Failure;
use crate::commands::export::{Format, Wish};
use crate::commands::identifiers::Given;
use crate::config::roles::Role;
use crate::model::category::Category;
use crate::model::consent::Purpose;
use crate::model::identifier::IdentifierType;
use crate::model::tenant::TenantId;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Makes personal data on Apache Kafka safe to use, and then forgets it, provably.
#[derive(Parser)]
#[command(version, about, arg_required_else_help = true)]
pub(super) struct Cli {
    /// Configuration file; every scalar field of a table can be overridden by LETHE_<TABLE>__<FIELD>.
    #[arg(long, global = true, default_value = "config.toml", env = "LETHE_CONFIG")]
    pub(super) config: PathBuf,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Consume raw events, transform them, produce pseudonymised and destination records, exactly once.
    Run(UntilCaughtUp),
    /// Enforce every window: tombstones, and the bytes really gone.
    Retain(UntilCaughtUp),
    /// Count events by hour and day, anonymously: no count is of few people.
    Aggregate(UntilCaughtUp),
    /// Put events together to sessions: one record each, corrected when an event comes late.
    Sessions(UntilCaughtUp),
    /// Show every governed topic: window, horizon, oldest record, next due, pending.
    Status {
        /// One tenant only.
        #[arg(long, value_parser = tenant_id)]
        tenant: Option<TenantId>,
        /// How far one request has come.
        #[arg(long)]
        request: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look at brokers, permissions, topics, cleaners, clocks, keys and files, and name the command that mends each fault.
    Doctor {
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Whose permissions to look for, more than once if need be; without it those of `run` and `retain`.
        #[arg(long, value_parser = Role::NAMES)]
        role: Vec<String>,
    },
    /// Make and mend topics.
    Topics {
        #[command(subcommand)]
        action: TopicsAction,
    },
    /// Stop producing records of a tenant, or of all: they wait in the raw topics, for at most the tenant's max_lateness.
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
    /// Forget somebody: nothing of them is written any more, what is there goes, and it is certified.
    Erase {
        #[command(flatten)]
        who: Who,
        /// The other identifiers that occurred in the same records, too.
        #[arg(long)]
        linked: bool,
    },
    /// Write nothing of somebody until it is lifted.
    Restrict {
        #[command(flatten)]
        who: Who,
        /// Lift it.
        #[arg(long)]
        lift: bool,
    },
    /// Withdraw somebody's consent for a purpose: it beats every consent given before.
    Withdraw {
        #[command(flatten)]
        who: Who,
        /// functional, analytics, ads or personalization.
        #[arg(long, value_parser = purpose)]
        purpose: Purpose,
    },
    /// Sell or share nothing of somebody from now on.
    OptOutOfSale(Who),
    /// Keep records against windows and erasures until released: of somebody, or of everybody where nobody is named.
    Hold {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        scope: HoldScope,
    },
    /// Release a hold: what is past due goes.
    Release {
        /// The hold's request id.
        #[arg(long)]
        request: String,
    },
    /// Write out all records of somebody, or of a tenant; or the records of processing; or the scope of an incident.
    Export(Export),
    /// End a tenant: nothing of it is taken in any more, and everything is deleted by the deadline, keys included, and certified.
    Terminate {
        /// Tenant id.
        #[arg(long, value_parser = tenant_id)]
        tenant: TenantId,
        /// When everything must be gone: at most 30d from now. Until shortly before, its records can be exported.
        #[arg(long, default_value = "30d")]
        deadline: String,
    },
    /// Show or verify a certificate of erasure or termination.
    Certificate {
        #[command(subcommand)]
        action: CertificateAction,
    },
    /// Verify the audit.
    Audit {
        #[command(subcommand)]
        action: AuditAction,
    },
    /// Make, rotate or destroy a tenant's pseudonymisation key.
    Keys {
        #[command(subcommand)]
        action: KeysAction,
    },
    /// Write synthetic events, made from a seed, to a file or to a tenant's raw topic.
    Generate(Generate),
    /// Print completions, e.g. `lethe completions bash > /etc/bash_completion.d/lethe`.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Show the job at work on synthetic events, with nothing to install.
    Demo(Demo),
}

#[derive(Args)]
pub(super) struct Generate {
    /// Tenant id.
    #[arg(long, value_parser = tenant_id)]
    pub(super) tenant: TenantId,
    /// How many events.
    #[arg(long)]
    pub(super) events: u64,
    /// The same seed gives the same events, but for their times, which end now.
    #[arg(long)]
    pub(super) seed: u64,
    /// Write JSON lines to this file (`-`: standard output) and not to the tenant's first raw topic; no config is needed then.
    #[arg(long)]
    pub(super) output: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct Demo {
    /// Use the configured brokers (LETHE_KAFKA__BOOTSTRAP_SERVERS) and not a mock broker in this process.
    #[arg(long)]
    pub(super) kafka: bool,
}

#[derive(Subcommand)]
pub(super) enum TopicsAction {
    /// Make the topics that the config wants and mend their settings.
    Apply {
        /// Change nothing; explain each setting.
        #[arg(long)]
        dry_run: bool,
        /// Make what is missing, leave the settings of what is there.
        #[arg(long)]
        missing_only: bool,
    },
    /// Print the commands that give each role the least it needs.
    Acls {
        /// One role only.
        #[arg(long, value_parser = Role::NAMES)]
        role: Option<String>,
        /// The people of one tenant only.
        #[arg(long, value_parser = tenant_id)]
        tenant: Option<TenantId>,
        /// How Kafka's tool is called here.
        #[arg(long, default_value = "kafka-acls.sh")]
        command: String,
    },
}

#[derive(Args)]
pub(super) struct UntilCaughtUp {
    /// End once what was there at the start is done.
    #[arg(long)]
    pub(super) until_caught_up: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(super) struct Whom {
    /// Tenant id.
    #[arg(long, value_parser = tenant_id)]
    pub(super) tenant: Option<TenantId>,
    /// Every tenant.
    #[arg(long)]
    pub(super) all: bool,
}

/// Each value may be `-` (a list on standard input, one a line) or `@file`.
#[derive(Args)]
pub(super) struct Who {
    /// Tenant id.
    #[arg(long, value_parser = tenant_id)]
    pub(super) tenant: TenantId,
    /// E-mail address; `-` or `@file` for a list.
    #[arg(long, allow_hyphen_values = true)]
    pub(super) email: Vec<String>,
    /// The tenant's own id of a person.
    #[arg(long, allow_hyphen_values = true)]
    pub(super) external_id: Vec<String>,
    /// Phone number with its country code.
    #[arg(long, allow_hyphen_values = true)]
    pub(super) phone: Vec<String>,
    /// First-party client id.
    #[arg(long, allow_hyphen_values = true)]
    pub(super) client_id: Vec<String>,
}

impl Who {
    /// The tenant, and what was given of a person.
    pub(super) fn given(self) -> (TenantId, Given) {
        let mut given = Given::default();
        given.add(IdentifierType::Email, self.email);
        given.add(IdentifierType::ExternalId, self.external_id);
        given.add(IdentifierType::Phone, self.phone);
        given.add(IdentifierType::ClientId, self.client_id);
        (self.tenant, given)
    }
}

/// Without identifiers: everybody. Each value may be `-` (a list on standard input, one a line) or `@file`.
#[derive(Args)]
pub(super) struct Export {
    /// Tenant id.
    #[arg(long, value_parser = tenant_id, required_unless_present_any = ["records_of_processing", "breach_scope"])]
    tenant: Option<TenantId>,
    /// E-mail address; `-` or `@file` for a list.
    #[arg(long, allow_hyphen_values = true)]
    email: Vec<String>,
    /// The tenant's own id of a person.
    #[arg(long, allow_hyphen_values = true)]
    external_id: Vec<String>,
    /// Phone number with its country code.
    #[arg(long, allow_hyphen_values = true)]
    phone: Vec<String>,
    /// First-party client id.
    #[arg(long, allow_hyphen_values = true)]
    client_id: Vec<String>,
    /// Of records: jsonl or csv; of the records of processing: markdown or json.
    #[arg(long, value_enum, required_unless_present_any = ["records_of_processing", "breach_scope"])]
    format: Option<ExportFormat>,
    /// The file, mode 0600, there whole or not at all; without it, standard output. A manifest of records stands beside it.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Instead of records: who processes what, where to, for how long, as the config has it; of one tenant or of all.
    #[arg(long, conflicts_with_all = ["email", "external_id", "phone", "client_id", "breach_scope", "from", "to"])]
    records_of_processing: bool,
    /// Instead of records: how much of whom was stored between two times, as JSON; of one tenant or of all.
    #[arg(long, conflicts_with_all = ["email", "external_id", "phone", "client_id", "format"], requires_all = ["from", "to"])]
    breach_scope: bool,
    /// Beginning of an incident.
    #[arg(long, requires = "breach_scope")]
    from: Option<String>,
    /// Its end.
    #[arg(long, requires = "breach_scope")]
    to: Option<String>,
}

/// What an export looks like.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ExportFormat {
    /// Records, one JSON object a line.
    Jsonl,
    /// Records, one table.
    Csv,
    /// Records of processing, for people.
    Markdown,
    /// Records of processing, for machines.
    Json,
}

/// What is to be exported.
pub(super) enum Exported {
    /// Records.
    Records(Wish),
    /// Tenant, as JSON, file.
    Processing(Option<TenantId>, bool, Option<PathBuf>),
    /// Tenant, from, to, file.
    Breach(Option<TenantId>, String, String, Option<PathBuf>),
}

impl Export {
    /// Which of the three exports it is. Errors: a format that this one does not have.
    pub(super) fn what(self) -> Result<Exported, Failure> {
        let cannot = |what: &str| Failure::Usage(format!("--format: {what}"));
        if self.breach_scope {
            return Ok(Exported::Breach(self.tenant, self.from.unwrap_or_default(), self.to.unwrap_or_default(), self.output));
        }
        if self.records_of_processing {
            return match self.format {
                None | Some(ExportFormat::Markdown) => Ok(Exported::Processing(self.tenant, false, self.output)),
                Some(ExportFormat::Json) => Ok(Exported::Processing(self.tenant, true, self.output)),
                Some(_) => Err(cannot("the records of processing are markdown or json")),
            };
        }
        let format = match self.format {
            Some(ExportFormat::Jsonl) => Format::Jsonl,
            Some(ExportFormat::Csv) => Format::Csv,
            _ => return Err(cannot("records are jsonl or csv")),
        };
        let tenant = self.tenant.ok_or_else(|| Failure::Usage("--tenant is missing".into()))?;
        let who = Who { tenant, email: self.email, external_id: self.external_id, phone: self.phone, client_id: self.client_id };
        let (tenant, given) = who.given();
        Ok(Exported::Records(Wish { tenant, given, format, output: self.output }))
    }
}

#[derive(Args)]
pub(super) struct HoldScope {
    /// One category only.
    #[arg(long, value_parser = category)]
    pub(super) category: Option<Category>,
    /// Only what occurred from then on.
    #[arg(long)]
    pub(super) from: Option<String>,
    /// Only what occurred before then.
    #[arg(long)]
    pub(super) to: Option<String>,
    /// A security incident: keeps the clear network identifiers (`T.network`) past their window, and nothing else.
    #[arg(long)]
    pub(super) incident: bool,
    /// Why.
    #[arg(long)]
    pub(super) reason: String,
    /// Minimum end, such as 2027-01-31 or 2027-01-31T12:00:00Z.
    #[arg(long)]
    pub(super) until: String,
}

#[derive(Subcommand)]
pub(super) enum CertificateAction {
    /// Print a request's certificate.
    Show {
        /// The request's id.
        #[arg(long)]
        request: String,
        /// For people.
        #[arg(long)]
        text: bool,
    },
    /// Verify a certificate, offline.
    Verify {
        /// The certificate; `-`: standard input.
        file: PathBuf,
        /// The signing key's public half.
        #[arg(long)]
        public_key: PathBuf,
    },
}

#[derive(Subcommand)]
pub(super) enum AuditAction {
    /// Find any edit, removal or reorder, and name the place.
    Verify {
        /// A checkpoint that was kept elsewhere (`newest_checkpoint` of an earlier `--json`): finds an end that was cut off.
        #[arg(long)]
        expect_checkpoint: Option<PathBuf>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `None`: off.
#[derive(Clone, Copy)]
pub(super) struct Limit(pub(super) Option<u32>);

#[derive(Subcommand)]
pub(super) enum KeysAction {
    /// Make the first key of a tenant (and the signing key, if there is none).
    New(KeysTenant),
    /// Begin a new key epoch: rows received from a minute on get pseudonyms under the new key.
    Rotate(KeysTenant),
    /// Wipe all keys of a tenant: its pseudonyms can then be linked to nobody.
    Destroy {
        #[command(flatten)]
        tenant: KeysTenant,
        /// The config does not name the tenant (any more), and nothing is there under its keys: Lethe cannot look.
        #[arg(long)]
        not_in_config: bool,
    },
}

#[derive(Args)]
pub(super) struct KeysTenant {
    /// Tenant id.
    #[arg(long, value_parser = tenant_id)]
    pub(super) tenant: TenantId,
}

fn tenant_id(text: &str) -> Result<TenantId, String> {
    TenantId::try_from(text.to_owned())
}

fn purpose(text: &str) -> Result<Purpose, String> {
    Purpose::ALL.into_iter().find(|p| p.as_str() == text).ok_or_else(|| "must be functional, analytics, ads or personalization".into())
}

fn category(text: &str) -> Result<Category, String> {
    Category::ALL.into_iter().find(|c| c.as_str() == text).ok_or_else(|| "is no category".into())
}

fn events_per_second(text: &str) -> Result<Limit, String> {
    match (text, text.parse::<u32>()) {
        ("off", _) => Ok(Limit(None)),
        (_, Ok(n)) if n > 0 => Ok(Limit(Some(n))),
        _ => Err("must be a number from 1, or off; to stop altogether, `lethe pause`".into()),
    }
}
