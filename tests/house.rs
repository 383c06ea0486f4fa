//! The rules of the house, executable: who may import whom, what never stands in production code, how long things may be.
//!
//! A rule that is in the way is changed here, in a commit that says why; it is never worked around.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Room, and the paths inside the crate that its production code may name. `transform` stands for its types alone where a room is given
/// `transform::*types`. The config's text is compiled into rules once, so `config` may name, besides types, what turns text into them: the
/// prefix of a record's schema, the program of a raw event's schema, and the modules of the destinations, whose settings are types of their own.
/// `cli` names the types of its arguments, and begins the log before anything can fail. `faults` is where a test gets hold of a step.
const IMPORTS: [(&str, &[&str]); 13] = [
    ("lib.rs", &[]),
    ("main.rs", &["cli"]),
    ("cli", &["commands", "config", "model::*types", "ops::log", "ops::core_files", "ops::say"]),
    ("faults", &[]),
    ("model", &[]),
    ("transform", &["model"]),
    ("lifecycle", &["model"]),
    (
        "config",
        &[
            "model",
            "lifecycle",
            "transform::rules",
            "transform::*types",
            "transform::avro::single_object_prefix",
            "transform::decode::compile_avro",
            "transform::destinations",
        ],
    ),
    ("kafka", &["model", "config::kafka", "faults"]),
    ("ops", &["model", "config", "faults"]),
    ("generator", &["model"]),
    ("derive", &["model"]),
    ("commands", &["model", "transform", "lifecycle", "config", "kafka", "ops", "generator", "derive", "faults"]),
];

/// What only some places may name, and which places: a prefix of the path under `src` each.
const ONLY_IN: [(&[&str], &[&str]); 11] = [
    (&["rdkafka"], &["kafka/"]),
    (&["tokio", "axum"], &["kafka/", "ops/", "commands/", "cli/", "main.rs"]),
    (&["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now"], &["ops/clock.rs", "kafka/", "commands/"]),
    (&["rand"], &["generator", "ops/keys"]),
    (&["getrandom"], &["ops/keys"]),
    (&["rayon"], &["transform/", "commands/"]),
    (&["tracing", "metrics::counter", "metrics::gauge", "metrics::histogram"], &["kafka/", "ops/", "commands/", "cli/", "main.rs"]),
    (
        &["std::fs", "std::net::TcpStream", "std::net::TcpListener", "std::net::UdpSocket", "std::env", "std::process"],
        &["config/", "kafka/", "ops/", "commands/", "cli/", "main.rs"],
    ),
    (&["std::thread"], &["transform/", "kafka/", "ops/", "commands/"]),
    // These panic where nobody reads any more, in the middle of what the command does: `ops/say` has others.
    (&["println", "print", "eprintln", "eprint"], &[]),
    (
        &["serde_json", "apache_avro"],
        &["model/", "derive/", "transform/", "lifecycle/", "config/", "generator", "ops/", "commands/", "cli/", "main.rs"],
    ),
];

/// The steps of the line that may look at a clear value. Everybody else, tests aside, has no business behind that door.
const MAY_EXPOSE: [&str; 11] = [
    "transform/free_text",
    "transform/destinations",
    "transform/forms",
    "transform/identify",
    "transform/normalise",
    "transform/enrich",
    "transform/scrub",
    "transform/hash",
    "transform/pseudonymise",
    "transform/route",
    "transform/encode",
];

/// Where code may be `unsafe`, and why. clippy denies a block without its `SAFETY`.
const UNSAFE: [(&str, &str); 3] = [
    (
        "transform/hash/kernels/",
        "hash instructions of the processor, 3 to 6 times as fast; equal to the portable kernel under random input",
    ),
    (
        "kafka/native",
        "rust-rdkafka can neither tell who a member of a group is, nor give a client its brokers again, nor pass over a hint that crashes it",
    ),
    ("kafka/permissions", "librdkafka tells authorised operations only through its own calls"),
];

/// What never stands in production code.
const NEVER: [&str; 8] = [".unwrap(", ".expect(", ".unwrap_err(", ".expect_err(", "todo!", "unimplemented!", "dbg!", "panic!("];

/// What never stands in any source file, comments and tests included.
const NEVER_ANYWHERE: [&str; 4] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("#[", "ignore")];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

const TESTS_ONLY: &str = "#[cfg(test)]";

/// A Rust file of `src`.
struct Source {
    /// Path under `src`, with `/`.
    path: String,
    /// Lines before the tests at its foot; none if the whole file is for tests.
    production: String,
    /// The same with comments, strings and characters blanked, line for line.
    code: String,
}

impl Source {
    /// `model`, `main.rs`, `generator`.
    fn room(&self) -> &str {
        let first = self.path.split('/').next().unwrap();
        if matches!(first, "lib.rs" | "main.rs") { first } else { first.trim_end_matches(".rs") }
    }

    /// The module path of the file: `["transform", "hash"]`.
    fn module(&self) -> Vec<&str> {
        let parts = self.path.trim_end_matches(".rs").split('/');
        parts.filter(|part| !matches!(*part, "mod" | "lib" | "main")).collect()
    }

    /// Every path inside the crate that the code names, from the root of the crate.
    fn inner_paths(&self) -> Vec<String> {
        let mut paths = [paths_from(&self.code, "crate"), paths_from(&self.code, "lethe")].concat();
        for path in paths_from(&self.code, "super") {
            let ups = 1 + path.split("::").take_while(|part| *part == "super").count();
            let module = self.module();
            let base = &module[..module.len().saturating_sub(ups)];
            let rest = path.split("::").skip_while(|part| *part == "super");
            paths.push(base.iter().copied().chain(rest).collect::<Vec<_>>().join("::"));
        }
        paths
    }
}

#[test]
fn rooms_import_only_what_they_may() {
    let mut faults = Vec::new();
    for source in sources() {
        let Some((_, allowed)) = IMPORTS.iter().find(|(room, _)| *room == source.room()) else {
            faults.push(format!("src/{}: a room that the import table does not know", source.path));
            continue;
        };
        for path in source.inner_paths() {
            let room = path.split("::").next().unwrap();
            let is_room = IMPORTS.iter().any(|(name, _)| *name == room);
            if is_room && room != source.room() && !allowed.iter().any(|rule| permits(rule, &path)) {
                faults.push(format!("src/{}: {} may not import {path}", source.path, source.room()));
            }
        }
    }
    none(&faults);
}

#[test]
fn outside_crates_and_the_outside_world_stay_in_their_rooms() {
    let mut faults = Vec::new();
    for source in sources() {
        let std_paths: Vec<String> = paths_from(&source.code, "std").iter().map(|path| format!("std::{path}")).collect();
        for (names, places) in ONLY_IN {
            if places.iter().any(|place| source.path.starts_with(place)) {
                continue;
            }
            for name in names {
                let by_use = std_paths.iter().any(|path| path == name || path.starts_with(&format!("{name}::")));
                if by_use || has_word(&source.code, name) {
                    faults.push(format!("src/{}: {name} may only stand in {places:?}", source.path));
                }
            }
        }
    }
    none(&faults);
}

#[test]
fn a_clear_value_is_exposed_only_in_the_line() {
    let mut faults = Vec::new();
    for source in sources() {
        let may = MAY_EXPOSE.iter().any(|place| source.path.starts_with(place));
        if !may && source.code.contains(".expose(") {
            faults.push(format!("src/{}: calls expose() and is not one of {MAY_EXPOSE:?}", source.path));
        }
    }
    none(&faults);
}

#[test]
fn unsafe_code_stands_only_where_it_is_listed() {
    let mut faults = Vec::new();
    let mut used = [false; UNSAFE.len()];
    for source in sources() {
        if !is_unsafe(&source.code) && !source.code.contains("allow(unsafe_code") {
            continue;
        }
        match UNSAFE.iter().position(|(place, _)| source.path.starts_with(place)) {
            Some(at) => used[at] = true,
            None => faults.push(format!("src/{}: unsafe code that UNSAFE does not list", source.path)),
        }
        // Each block, function and implementation says what it relies on.
        let lines: Vec<&str> = source.production.lines().collect();
        for (at, _) in source.code.lines().enumerate().filter(|(_, code)| is_unsafe(code)) {
            let said = lines[at.saturating_sub(8)..=at].iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety"));
            if !said {
                faults.push(format!("src/{}:{}: no SAFETY above it", source.path, at + 1));
            }
        }
    }
    faults.extend(UNSAFE.iter().zip(used).filter(|(_, used)| !used).map(|((place, _), _)| format!("{place}: listed, and has none")));
    none(&faults);
}

#[test]
fn production_code_does_not_panic_or_wait_to_be_written() {
    let mut faults = Vec::new();
    for source in sources() {
        for (number, line) in source.code.lines().enumerate() {
            for word in NEVER.iter().filter(|word| line.contains(**word)) {
                faults.push(format!("src/{}:{}: {word}", source.path, number + 1));
            }
        }
    }
    none(&faults);
}

#[test]
fn nothing_is_left_for_later_or_switched_off() {
    let mut faults = Vec::new();
    for (path, text) in tracked_texts().into_iter().filter(|(path, _)| path.ends_with(".rs")) {
        for (number, line) in text.lines().enumerate() {
            for word in NEVER_ANYWHERE.iter().filter(|word| line.contains(**word)) {
                faults.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    none(&faults);
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let rust = tracked_texts().into_iter().filter(|(path, _)| path.ends_with(".rs"));
    let silent = rust.filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| format!("{path}: does not open with //!"));
    none(&silent.collect::<Vec<_>>());
}

#[test]
fn every_file_is_part_of_the_build() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    rust_files(&root.join("tests/journeys"), &mut files);
    let mut dead = Vec::new();
    for file in files {
        let (directory, stem) = (file.parent().unwrap(), file.file_stem().unwrap().to_string_lossy().into_owned());
        // What declares `a/mod.rs` is what stands beside `a`.
        let (beside, name) = match stem.as_str() {
            "lib" | "main" => continue,
            "mod" => (directory.parent().unwrap(), directory.file_name().unwrap().to_string_lossy().into_owned()),
            _ => (directory, stem),
        };
        let parents = [beside.join("mod.rs"), beside.join("lib.rs"), beside.join("main.rs"), beside.with_extension("rs")];
        let texts = parents.iter().filter_map(|parent| std::fs::read_to_string(parent).ok());
        let declared = format!("mod {name};");
        if !texts.into_iter().any(|text| text.lines().any(|line| line.trim() == declared || line.trim().ends_with(&format!(" {declared}"))))
        {
            dead.push(format!("{}: declared nowhere, so never compiled or run", file.strip_prefix(root).unwrap().display()));
        }
    }
    none(&dead);
}

#[test]
fn files_fit_one_sitting_and_functions_one_screen() {
    let mut faults = Vec::new();
    for source in sources() {
        let lines = source.production.lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!("src/{}: {lines} production lines, at most {FILE_LINES_MAX}", source.path));
        }
        for (name, lines) in functions(&source.code) {
            if lines > FUNCTION_LINES_MAX {
                faults.push(format!("src/{}: fn {name} has {lines} lines, at most {FUNCTION_LINES_MAX}", source.path));
            }
        }
    }
    none(&faults);
}

#[test]
fn every_test_that_the_promise_names_is_there() {
    let promise = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("PROMISE.md")).unwrap();
    let texts = tracked_texts();
    let rust: Vec<&String> = texts.iter().filter(|(path, _)| path.ends_with(".rs")).map(|(_, text)| text).collect();
    let named: Vec<&str> =
        promise.split("test: ").skip(1).map(|rest| rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap()).collect();
    assert!(named.len() > 30, "the page was read");
    let is_there = |name: &str| rust.iter().any(|text| text.contains(&format!("fn {name}(")));
    none(&named.iter().filter(|name| !is_there(name)).map(|name| format!("PROMISE.md names {name}, which is no test")).collect::<Vec<_>>());
}

#[test]
fn every_journey_that_the_readme_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let table = readme.split("| promise | journey |").nth(1).unwrap().split("\n\n").next().unwrap();
    let last = table.lines().filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    let named: Vec<&str> = last.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 25, "the table was read");
    let main = std::fs::read_to_string(root.join("tests/journeys/main.rs")).unwrap();
    let is_there = |name: &str| main.contains(&format!("\nmod {name};"));
    none(
        &named.iter().filter(|name| !is_there(name)).map(|name| format!("README.md names {name}, which is no journey")).collect::<Vec<_>>(),
    );
}

#[test]
fn names_live_where_they_are_said_to_live() {
    let mut faults = Vec::new();
    for source in sources() {
        let globs = source.code.split(';').filter(|statement| {
            let statement = statement.trim();
            statement.rfind("pub use ").or(statement.rfind("pub(crate) use ")).is_some_and(|at| statement[at..].contains('*'))
        });
        faults.extend(globs.map(|_| format!("src/{}: a glob re-export", source.path)));
    }
    none(&faults);
}

#[test]
fn no_path_of_one_machine_is_tracked() {
    let roots = ["work", "root", "home", "Users"].map(|name| format!("/{name}/"));
    let mut faults = Vec::new();
    for (path, text) in tracked_texts().into_iter().filter(|(path, _)| path != "Cargo.lock") {
        for (number, line) in text.lines().enumerate() {
            let machine = roots.iter().any(|root| {
                let before = |at: usize| line[..at].chars().next_back();
                line.match_indices(root).any(|(at, _)| before(at).is_none_or(|c| !c.is_ascii_alphanumeric() && c != '.'))
            });
            if machine {
                faults.push(format!("{path}:{}", number + 1));
            }
        }
    }
    none(&faults);
}

#[track_caller]
fn none(faults: &[String]) {
    assert!(faults.is_empty(), "{} of the house's rules broken:\n{}", faults.len(), faults.join("\n"));
}

/// Whether one rule of the import table permits a path.
fn permits(rule: &str, path: &str) -> bool {
    match rule.strip_suffix("::*types") {
        // A path whose last name is a type, and not a function or a module.
        Some(room) => path.starts_with(&format!("{room}::")) && path.rsplit("::").next().unwrap().starts_with(char::is_uppercase),
        None => path == rule || path.starts_with(&format!("{rule}::")),
    }
}

/// All files of `src` in order, files that are modules of tests only left out.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    files.sort();
    assert!(files.len() > 10, "the sources are where they were");
    let read = |path: &PathBuf| (path.strip_prefix(&root).unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap());
    let texts: Vec<(String, String)> = files.iter().map(read).collect();
    let for_tests: Vec<String> = texts.iter().flat_map(|(path, text)| test_modules(path, text)).collect();
    let is_for_tests = |path: &str| for_tests.iter().any(|module| path.trim_end_matches(".rs").trim_end_matches("/mod") == module);
    let production = texts.into_iter().filter(|(path, _)| !is_for_tests(path));
    let split = production.map(|(path, text)| {
        let production = before_tests(&text).to_owned();
        let code = blanked(&production);
        Source { path, production, code }
    });
    split.collect()
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The files that a file declares as `#[cfg(test)] mod name;`, as paths without extension.
fn test_modules(path: &str, text: &str) -> Vec<String> {
    let directory = path.trim_end_matches(".rs").trim_end_matches("mod").trim_end_matches("lib").trim_end_matches('/');
    let declared = text.split(TESTS_ONLY).skip(1).filter_map(module_at).filter(|(_, rest)| rest.starts_with(';'));
    declared.map(|(name, _)| format!("{directory}/{name}").trim_start_matches('/').to_owned()).collect()
}

/// The text before the tests at the foot of a file.
fn before_tests(text: &str) -> &str {
    let mut marks = text.match_indices(TESTS_ONLY).map(|(at, _)| at);
    let foot = marks.find(|at| module_at(&text[at + TESTS_ONLY.len()..]).is_some_and(|(_, rest)| rest.trim_start().starts_with('{')));
    foot.map_or(text, |at| &text[..at])
}

/// The name of the module that is declared at the beginning of the text, if one is, and what follows the name.
fn module_at(text: &str) -> Option<(&str, &str)> {
    let mut words = text.trim_start();
    if let Some(public) = words.strip_prefix("pub") {
        words = if public.starts_with('(') { &public[public.find(')')? + 1..] } else { public };
    }
    let name = words.trim_start().strip_prefix("mod ")?;
    Some(name.split_at(name.find([';', '{', ' '])?))
}

/// The code with comments, strings and characters replaced by spaces, so that a word found in it is code.
fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if text[at..].starts_with("//") => at + text[at..].find('\n').unwrap_or(text.len() - at),
            b'/' if text[at..].starts_with("/*") => at + text[at..].find("*/").map_or(text.len() - at, |length| length + 2),
            b'r' if !word_before(bytes, at) && raw_string_end(text, at).is_some() => raw_string_end(text, at).unwrap(),
            b'"' => string_end(bytes, at),
            b'\'' => char_end(text, at),
            _ => {
                at += 1;
                continue;
            }
        };
        out[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The end of `r"…"`, `r#"…"#` that begins at `at`, if one does. A `b` before it belongs to no word.
fn raw_string_end(text: &str, at: usize) -> Option<usize> {
    let hashes = text[at + 1..].bytes().take_while(|byte| *byte == b'#').count();
    let open = at + 1 + hashes;
    text[open..].starts_with('"').then(|| {
        let close = format!("\"{}", "#".repeat(hashes));
        text[open + 1..].find(&close).map_or(text.len(), |length| open + 1 + length + close.len())
    })
}

fn string_end(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// The end of a character that begins at `open`; of a lifetime, its quote alone.
fn char_end(text: &str, open: usize) -> usize {
    let mut chars = text[open + 1..].char_indices();
    match chars.next() {
        Some((_, '\\')) => text[open + 3..].find('\'').map_or(text.len(), |length| open + 3 + length + 1),
        Some(_) if chars.next().is_some_and(|(_, c)| c == '\'') => open + 1 + text[open + 1..].find('\'').unwrap() + 1,
        _ => open + 1,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn word_before(bytes: &[u8], at: usize) -> bool {
    // `br"…"` is a string too.
    at > 0 && is_word(bytes[at - 1]) && !(bytes[at - 1] == b'b' && (at < 2 || !is_word(bytes[at - 2])))
}

/// Whether `word` stands in the code as a whole word: a field or a method of that name, after a dot, does not count.
/// Whether the keyword stands in code.
fn is_unsafe(code: &str) -> bool {
    code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).any(|word| word == "unsafe")
}

fn has_word(code: &str, word: &str) -> bool {
    let bytes = code.as_bytes();
    code.match_indices(word).any(|(at, _)| {
        let after = bytes.get(at + word.len()).copied().unwrap_or(b' ');
        let before = if at == 0 { b' ' } else { bytes[at - 1] };
        // A crate is named by a path, a macro by its mark; a variable or function of the same name is another thing.
        let names = word.contains("::") || after == b':' || after == b'!' || code[..at].trim_end().ends_with("use");
        !is_word(before) && before != b'.' && !is_word(after) && names
    })
}

/// Every path that begins with `root::`, groups spelled out, `root::` taken off: `use crate::{a::B, c}` gives `a::B` and `c`.
fn paths_from(code: &str, root: &str) -> Vec<String> {
    let start = format!("{root}::");
    let mut paths = Vec::new();
    for (at, _) in code.match_indices(&start) {
        let before = code[..at].bytes().next_back().unwrap_or(b' ');
        if !is_word(before) && before != b':' {
            tree(&code[at + start.len()..], "", &mut paths);
        }
    }
    paths
}

/// Reads one use-tree, adds its paths, and returns how many bytes it took.
fn tree(text: &str, prefix: &str, paths: &mut Vec<String>) -> usize {
    let name = text.bytes().take_while(|byte| is_word(*byte) || *byte == b'*').count();
    let path = if prefix.is_empty() { text[..name].to_owned() } else { format!("{prefix}::{}", &text[..name]) };
    if text[name..].starts_with("::") && text[name + 2..].starts_with(|c: char| c == '{' || c == '*' || c == '_' || c.is_alphabetic()) {
        return name + 2 + tree(&text[name + 2..], &path, paths);
    }
    if !text.starts_with('{') {
        paths.push(path);
        return name;
    }
    let mut at = 1;
    while at < text.len() && !text[at..].starts_with('}') {
        let part = &text[at..];
        if part.starts_with(|c: char| c == '{' || c == '*' || c == '_' || c.is_alphabetic()) {
            at += tree(part, prefix, paths);
            // A new name (`as x`) is passed over.
            at += text[at..].find([',', '}']).unwrap_or(0);
        } else {
            at += part.chars().next().map_or(1, char::len_utf8);
        }
    }
    (at + 1).min(text.len())
}

/// Name and number of lines of each function in blanked code, signature included.
fn functions(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ").filter(|(at, _)| *at == 0 || !is_word(code.as_bytes()[at - 1])) {
        let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let body = code[at..].find(['{', ';']).filter(|open| code[at + open..].starts_with('{'));
        if let (false, Some(open)) = (name.is_empty(), body) {
            let mut depth = 0_usize;
            let close = code[at + open..].bytes().position(|byte| {
                depth = depth + usize::from(byte == b'{') - usize::from(byte == b'}');
                depth == 0
            });
            let end = at + open + close.unwrap_or(0);
            found.push((name, code[at..end].matches('\n').count() + 1));
        }
    }
    found
}

/// Path and text of all files that git tracks here; without git, of the directories that hold text.
fn tracked_texts() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root).output();
    let mut paths: Vec<String> = match listed {
        Ok(done) if done.status.success() => {
            String::from_utf8_lossy(&done.stdout).split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect()
        }
        _ => {
            let mut files = Vec::new();
            for directory in ["src", "tests", "benches"] {
                if root.join(directory).is_dir() {
                    rust_files(&root.join(directory), &mut files);
                }
            }
            files.iter().map(|path| path.strip_prefix(root).unwrap().to_string_lossy().into_owned()).collect()
        }
    };
    paths.sort();
    assert!(paths.len() > 10, "the files are where they were");
    // A tracked file may have been removed and not yet committed; a binary one holds no words.
    paths.into_iter().filter_map(|path| std::fs::read_to_string(root.join(&path)).ok().map(|text| (path, text))).collect()
}

mod the_reader_of_code {
    use super::*;

    #[test]
    fn blanks_what_is_not_code() {
        let code = "a(\"crate::x \\\" y\"); // crate::b\nlet c = '\"'; let d: &'a str = r#\"todo! \"\"#; /* e\nf */ g(b'\\'', br\"h\")";
        let blank = blanked(code);
        for gone in ["crate", "y", "todo", "e\n", "f ", "h"] {
            assert!(!blank.contains(gone), "{gone:?} in {blank:?}");
        }
        for kept in ["a(", "let c =", "&'a str", "g("] {
            assert!(blank.contains(kept) || kept == "&'a str" && blank.contains("& a str"), "{kept:?} not in {blank:?}");
        }
        assert_eq!(blank.lines().count(), code.lines().count());
    }

    #[test]
    fn spells_out_use_trees() {
        let code = "use crate::{a::{B, c::d as e}, f::*};\nlet x = crate::g::h(1); mycrate::no(); other::crate::no()";
        assert_eq!(paths_from(code, "crate"), ["a::B", "a::c::d", "f::*", "g::h"]);
        assert_eq!(paths_from("use std::{fs::File, collections::HashMap};", "std"), ["fs::File", "collections::HashMap"]);
    }

    #[test]
    fn resolves_super() {
        let source = |path: &str, code: &str| Source { path: path.into(), production: code.into(), code: code.into() };
        assert_eq!(source("model/mod.rs", "use super::kafka::X;").inner_paths(), ["kafka::X"]);
        assert_eq!(source("model/time.rs", "use super::span::X;").inner_paths(), ["model::span::X"]);
        assert_eq!(source("transform/hash/kernels/shani.rs", "use super::super::X;").inner_paths(), ["transform::hash::X"]);
    }

    #[test]
    fn knows_crates_from_other_words() {
        assert!(has_word("use rand::Rng;", "rand") && has_word("let x = rand::random();", "rand"));
        assert!(!has_word("let rand = 1; operand::x(); self.rand::<u8>()", "rand"));
        assert!(has_word("println!()", "println") && !has_word("eprintln!()", "println"));
        assert!(has_word("Instant::now()", "Instant::now"));
    }

    #[test]
    fn permits_types_and_not_functions() {
        assert!(permits("transform::*types", "transform::enrich::GeoDb"));
        assert!(!permits("transform::*types", "transform::transform"));
        assert!(permits("config::kafka", "config::kafka::Settings") && !permits("config::kafka", "config::Config"));
    }

    #[test]
    fn finds_where_tests_begin() {
        let text = "fn a() {}\n#[cfg(test)]\nmod naive;\nfn b() {}\n#[cfg(test)]\nmod tests {\n fn c() {} }\n";
        assert_eq!(before_tests(text), "fn a() {}\n#[cfg(test)]\nmod naive;\nfn b() {}\n");
        assert_eq!(before_tests("fn a() {}\n#[cfg(test)]\nmod naive;\n"), "fn a() {}\n#[cfg(test)]\nmod naive;\n");
        assert_eq!(test_modules("transform/mod.rs", text), ["transform/naive"]);
        assert_eq!(before_tests("fn a() {}\n#[cfg(test)]\npub(super) mod tests {\n"), "fn a() {}\n");
        assert_eq!(test_modules("lib.rs", "#[cfg(test)]\nmod naive;"), ["naive"]);
    }

    #[test]
    fn measures_functions() {
        let code = "trait T { fn none(&self); }\npub fn long(\n  a: u8,\n) {\n  if a { b() }\n}\nlet f: fn (u8);\n";
        assert_eq!(functions(code), [("long".to_owned(), 5)]);
    }
}
