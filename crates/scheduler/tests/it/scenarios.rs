//! Scenarios: text files whose lines with `>` are commands; all other lines are what came of them.
//!
//! Run with `UPDATE_EXPECT=1` to write what comes of the commands now, then read the difference.

mod script;

use std::{fs, path::Path};

use expect_test::expect_file;

use script::Script;

#[test]
fn scenarios_go_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 12, "scenarios are missing from {}", folder.display());
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let mut script = Script::default();
        let played: String = text.lines().map(|line| script.line(line)).collect();
        expect_file![&path].assert_eq(&played);
    }
}
