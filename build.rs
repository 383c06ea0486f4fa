//! Embeds the user-agent rules that ship inside the `ua-parser` crate, as JSON, with the closed list of names they can yield; and has the linker put one
//! function of ours in the place of librdkafka's.
//!
//! `regexes.yaml` (uap-core) lies in the crate's package but the crate does not export it, so Cargo is asked where the package is.
//! YAML is read here and not at start: the binary then needs no YAML reader, and a broken file breaks the build, not a worker.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex_syntax::hir::{Class, Hir, HirKind};
use saphyr::{LoadableYamlNode, Yaml};
use serde_json::{Map, Value, json};

type Failure = Box<dyn Error>;
type Rule = BTreeMap<String, String>;

/// Names that one rule may yield before it counts as open-ended.
const NAMES_PER_RULE_MAX: usize = 300;

fn main() -> Result<(), Failure> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=Cargo.lock");
    // See src/kafka/native.rs. Only where the linker knows of it: elsewhere librdkafka stays as it is.
    if env::var("CARGO_CFG_TARGET_OS")? == "linux" {
        println!("cargo::rustc-link-arg=-Wl,--wrap=rd_kafka_metadata_update_op");
    }
    let file = ua_parser_root()?.join("uap-core").join("regexes.yaml");
    println!("cargo::rerun-if-changed={}", file.display());
    let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let user_agents = rules(&text, "user_agent_parsers")?;
    let systems = rules(&text, "os_parsers")?;
    let devices = rules(&text, "device_parsers")?;

    let mut majors = BTreeSet::new();
    for rule in &systems {
        if let Some(major) = rule.get("os_v1_replacement").filter(|m| !m.contains('$')) {
            majors.insert(major.clone());
        }
    }
    let out = json!({
        "browsers": names(&user_agents, "family_replacement"),
        "systems": names(&systems, "os_replacement"),
        "os_majors": majors,
        "rules": {
            "user_agent_parsers": as_json(&user_agents),
            "os_parsers": as_json(&systems),
            "device_parsers": as_json(&devices),
        },
    });
    let to = PathBuf::from(env::var("OUT_DIR")?).join("user_agents.json");
    fs::write(to, serde_json::to_vec(&out)?)?;
    Ok(())
}

/// Folder of the `ua-parser` package this build links. Offline first; the second try may fetch what `cargo build` had no need of.
fn ua_parser_root() -> Result<PathBuf, Failure> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let manifest = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    let target = env::var("TARGET")?;
    let mut why = String::new();
    for offline in [true, false] {
        let mut command = Command::new(&cargo);
        command.args(["metadata", "--format-version=1", "--filter-platform", &target, "--manifest-path"]).arg(&manifest);
        if offline {
            command.arg("--offline");
        }
        let run = command.output()?;
        if !run.status.success() {
            why = String::from_utf8_lossy(&run.stderr).into_owned();
            continue;
        }
        let metadata: Value = serde_json::from_slice(&run.stdout)?;
        let package = metadata["packages"]
            .as_array()
            .and_then(|all| all.iter().find(|p| p["name"] == "ua-parser"))
            .and_then(|p| p["manifest_path"].as_str())
            .ok_or("cargo metadata does not list ua-parser")?;
        let root = Path::new(package).parent().ok_or("the manifest of ua-parser has no folder")?;
        return Ok(root.to_path_buf());
    }
    Err(format!("cargo metadata failed, so the folder of ua-parser is unknown: {why}").into())
}

/// The rules under one top-level key of the file, each a map from field to text, in the file's order (the first match wins).
fn rules(text: &str, key: &str) -> Result<Vec<Rule>, Failure> {
    let documents = Yaml::load_from_str(text)?;
    let list = documents
        .first()
        .and_then(|d| d.as_mapping_get(key))
        .and_then(|l| l.as_sequence())
        .ok_or_else(|| format!("regexes.yaml has no list {key}"))?;
    list.iter()
        .map(|entry| {
            let map = entry.as_mapping().ok_or_else(|| format!("{key}: an entry is not a map"))?;
            map.iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| {
                    let name = name.as_str().ok_or_else(|| format!("{key}: a field name is not text"))?;
                    let value = scalar(value).ok_or_else(|| format!("{key}.{name}: not a scalar"))?;
                    Ok((name.to_string(), value))
                })
                .collect()
        })
        .collect()
}

/// A scalar as text: the file leaves some numbers and words unquoted.
fn scalar(value: &Yaml<'_>) -> Option<String> {
    let text = value.as_str().map(str::to_string);
    let number = || value.as_integer().map(|i| i.to_string());
    let fraction = || value.as_floating_point().map(|f| f.to_string());
    text.or_else(number).or_else(fraction).or_else(|| value.as_bool().map(|b| b.to_string()))
}

fn as_json(rules: &[Rule]) -> Value {
    let one = |r: &Rule| Value::Object(r.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect::<Map<_, _>>());
    Value::Array(rules.iter().map(one).collect())
}

/// Every name the rules can yield from a finite choice, under its lower-case form.
///
/// Many rules take the name out of the user agent itself (`^(.{0,200})/(\d+) CFNetwork`): whatever stands there, a person's name
/// or number too, would reach the output. So only names that the rules spell out are passed on, in the rules' spelling.
fn names(rules: &[Rule], replacement: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for rule in rules {
        let template = rule.get(replacement).map_or("$1", String::as_str);
        let Ok(hir) = regex_syntax::parse(&rule["regex"]) else { continue };
        for name in fill(template, &hir).unwrap_or_default() {
            let name = name.trim().to_string();
            let shouted = name == name.to_uppercase();
            if !name.is_empty() && (!shouted || !all.contains_key(&name.to_lowercase())) {
                all.insert(name.to_lowercase(), name);
            }
        }
    }
    all
}

/// The texts a template such as `$1 Mobile` can become; `None` when a group it uses is open-ended.
fn fill(template: &str, hir: &Hir) -> Option<Vec<String>> {
    let mut texts = vec![String::new()];
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        let group = chars.peek().and_then(|d| d.to_digit(10)).filter(|_| c == '$');
        let tails = match group {
            Some(index) => {
                chars.next();
                expand(capture(hir, index)?)?
            }
            None => vec![c.to_string()],
        };
        texts = product(&texts, &tails)?;
    }
    Some(texts)
}

/// The inside of capture group `index`.
fn capture(hir: &Hir, index: u32) -> Option<&Hir> {
    match hir.kind() {
        HirKind::Capture(c) if c.index == index => Some(&c.sub),
        HirKind::Capture(c) => capture(&c.sub, index),
        HirKind::Repetition(r) => capture(&r.sub, index),
        HirKind::Concat(all) | HirKind::Alternation(all) => all.iter().find_map(|h| capture(h, index)),
        _ => None,
    }
}

/// All texts a part of a regex can match, the two cases of a letter taken for one; `None` when there are too many.
fn expand(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(vec![String::new()]),
        HirKind::Literal(l) => Some(vec![std::str::from_utf8(&l.0).ok()?.to_string()]),
        HirKind::Class(Class::Unicode(class)) => {
            let mut letters = BTreeMap::new();
            for range in class.ranges() {
                if range.len() > 4 {
                    return None; // a range such as a-z, not the two cases of a letter
                }
                for c in range.start()..=range.end() {
                    letters.entry(c.to_lowercase().collect::<String>()).or_insert(c.to_string());
                }
            }
            Some(letters.into_values().collect())
        }
        HirKind::Class(Class::Bytes(_)) => None,
        HirKind::Repetition(r) if r.max == Some(1) => {
            let mut texts = expand(&r.sub)?;
            if r.min == 0 {
                texts.push(String::new());
            }
            Some(texts)
        }
        HirKind::Repetition(_) => None,
        HirKind::Capture(c) => expand(&c.sub),
        HirKind::Concat(all) => all.iter().try_fold(vec![String::new()], |texts, h| product(&texts, &expand(h)?)),
        HirKind::Alternation(all) => {
            let mut texts = Vec::new();
            for one in all {
                texts.extend(expand(one)?);
            }
            (texts.len() <= NAMES_PER_RULE_MAX).then_some(texts)
        }
    }
}

fn product(heads: &[String], tails: &[String]) -> Option<Vec<String>> {
    if heads.len() * tails.len() > NAMES_PER_RULE_MAX {
        return None;
    }
    Some(heads.iter().flat_map(|h| tails.iter().map(move |t| format!("{h}{t}"))).collect())
}
