//! The rules of the house that a machine can check.
//!
//! The floors come from the picture in ARCHITECTURE.md, so that the page and the code can't drift apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use walkdir::WalkDir;

use crate::step::root;

pub(crate) fn run() -> Result<()> {
    let root = root();
    let mut faults = Vec::new();
    check_floors(&root, &mut faults)?;
    check_sources(&root, &mut faults)?;
    check_error_pages(&root, &mut faults)?;
    if faults.is_empty() {
        return Ok(());
    }
    bail!("{} faults\n{}", faults.len(), faults.join("\n"))
}

/// Reads the floors from the first fenced block of ARCHITECTURE.md that begins with a floor's number.
///
/// A line is a number, the crates of the floor separated by blanks, two blanks, and words for people. Within floor 0
/// the crates stand in their own order, lowest first.
fn floors(page: &str) -> BTreeMap<String, usize> {
    let mut floors = BTreeMap::new();
    for line in page.lines().skip_while(|line| !line.starts_with("```floors")).skip(1) {
        if line.starts_with("```") {
            break;
        }
        let mut words = line.splitn(2, "  ");
        let (Some(number), Some(rest)) = (words.next(), words.next()) else { continue };
        let names = rest.trim_start().split("  ").next().unwrap_or_default();
        // Ten steps a floor leave room for the order within floor 0 and for half floors.
        let Some(base) = number.trim().trim_end_matches('\'').parse::<usize>().ok().map(|n| n * 10) else {
            continue;
        };
        let half = if number.trim().ends_with('\'') { 5 } else { 0 };
        for (place, name) in names.split_whitespace().enumerate() {
            floors.insert(name.to_owned(), base + half + if base == 0 { place } else { 0 });
        }
    }
    floors
}

fn check_floors(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md is missing")?;
    let floors = floors(&page);
    for entry in fs::read_dir(root.join("crates"))? {
        let folder = entry?.path();
        let name = folder.file_name().expect("a crate's folder has a name").to_string_lossy().into_owned();
        let manifest: toml::Table = fs::read_to_string(folder.join("Cargo.toml"))?.parse()?;
        if name == "testkit" {
            continue;
        }
        let Some(floor) = floors.get(&name) else {
            faults.push(format!("ARCHITECTURE.md: crate {name} stands on no floor"));
            continue;
        };
        let empty = toml::Table::new();
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table).unwrap_or(&empty);
        for dependency in dependencies.keys() {
            match floors.get(dependency) {
                Some(below) if below >= floor => {
                    faults.push(format!(
                        "crates/{name}: imports {dependency}, which is not on a floor below it"
                    ));
                }
                _ if dependency == "testkit" => {
                    faults.push(format!("crates/{name}: links testkit into the product"));
                }
                _ if dependency == "axum"
                    && !["web", "server", "agent", "hub-server"].contains(&name.as_str()) =>
                {
                    faults.push(format!("crates/{name}: axum belongs to web and the faces"));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// What must not stand in sources, where it may stand after all, and why it must not.
struct Forbidden {
    text: &'static str,
    allowed_in: &'static [&'static str],
    reason: &'static str,
}

const FORBIDDEN: &[Forbidden] = &[
    Forbidden {
        text: concat!("todo", "!("),
        allowed_in: &[],
        reason: "do it now, or write it into docs/limits.md",
    },
    Forbidden {
        text: concat!("TO", "DO"),
        allowed_in: &[],
        reason: "do it now, or write it into docs/limits.md",
    },
    Forbidden {
        text: concat!("FIX", "ME"),
        allowed_in: &[],
        reason: "do it now, or write it into docs/limits.md",
    },
    Forbidden { text: concat!("#[all", "ow("), allowed_in: &[], reason: "use #[expect(lint, reason = …)]" },
    Forbidden { text: concat!("#[ign", "ore"), allowed_in: &[], reason: "a test runs or is deleted" },
    Forbidden {
        text: concat!("tokio::sp", "awn("),
        allowed_in: &["crates/base/"],
        reason: "tasks only by TaskScope",
    },
    Forbidden {
        text: concat!("SystemTime::n", "ow"),
        allowed_in: &["crates/base/", "xtask/"],
        reason: "time only by base::Clock",
    },
    Forbidden {
        text: concat!("Command::n", "ew("),
        allowed_in: &["crates/runtime/", "crates/cli/", "xtask/", "crates/testkit/"],
        reason: "processes only in runtime",
    },
];

fn check_sources(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    for path in sources(root) {
        let text = fs::read_to_string(&path)?;
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        if !text.starts_with("//!") && !text.starts_with("#!") {
            faults.push(format!("{shown}: begins without `//!` docs"));
        }
        let is_test = shown.contains("/tests") || shown.contains("/benches/") || shown.ends_with("tests.rs");
        // Unit tests stand at the end of their file.
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        for rule in FORBIDDEN {
            let excepted = rule.allowed_in.iter().any(|prefix| shown.starts_with(prefix))
                || (is_test && rule.reason.contains("only"));
            if !excepted && product.contains(rule.text) {
                faults.push(format!("{shown}: holds `{}`: {}", rule.text, rule.reason));
            }
        }
    }
    Ok(())
}

fn sources(root: &Path) -> Vec<PathBuf> {
    ["crates", "xtask", "examples"]
        .iter()
        .flat_map(|folder| WalkDir::new(root.join(folder)).sort_by_file_name())
        .filter_map(Result::ok)
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter(|path| !path.components().any(|part| part.as_os_str() == "target"))
        .collect()
}

/// Every stable code has its page, and every page its code.
fn check_error_pages(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    let list = fs::read_to_string(root.join("crates/types/src/fault.rs"))?;
    let codes: BTreeSet<String> = list
        .lines()
        .filter_map(|line| {
            line.trim().split_once(" = \"")?.1.split_once("\", ").map(|(code, _)| code.to_owned())
        })
        .collect();
    let mut pages = BTreeSet::new();
    for entry in fs::read_dir(root.join("docs/errors"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.insert(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    pages.remove("README");
    faults.extend(codes.difference(&pages).map(|code| format!("docs/errors/{code}.md is missing")));
    faults.extend(pages.difference(&codes).map(|page| format!("docs/errors/{page}.md explains no code")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_are_read_from_the_page() {
        let page = "x\n```floors\n2'  transfer        joins\n2   state  hub   words\n0   base types api   ground\n```\n";
        let read = floors(page);
        assert_eq!(read.get("transfer"), Some(&25));
        assert_eq!(read.get("types"), Some(&1));
        assert_eq!(read.get("state"), Some(&20));
        assert_eq!(read.get("hub"), None, "two blanks end the names");
    }

    #[test]
    fn the_house_is_tidy() {
        run().unwrap();
    }
}
