//! What patterns mean, from a table and from Python itself.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use base::Entropy;

use super::*;

fn means(pattern: &str, path: &str) -> bool {
    pattern.parse::<Pattern>().unwrap().matcher().matches(path)
}

#[test]
fn patterns_mean_what_python_says() {
    let check = |pattern: &str, yes: &[&str], no: &[&str]| {
        for path in yes {
            assert!(means(pattern, path), "{pattern} should mean {path}");
        }
        for path in no {
            assert!(!means(pattern, path), "{pattern} should not mean {path}");
        }
    };
    check("*.json", &["config.json", "a/b/c.json", ".json"], &["config.jsonl", "config.JSON", "json"]);
    check("onnx/", &["onnx/model.onnx", "onnx/a/b", "onnx/"], &["onnx", "x/onnx/model.onnx"]);
    check("*/config.json", &["a/config.json", "a/b/config.json"], &["config.json"]);
    check("model-0000?-of-*", &["model-00001-of-00002.safetensors"], &["model-00011-of-00012.safetensors"]);
    check("[ab]*", &["a", "bx"], &["c", "", "A"]);
    check("[!ab]*", &["c", "/"], &["a", "b", ""]);
    check("[a-c-e]", &["a", "b", "c", "-", "e"], &["d"]);
    check("[]x]", &["]", "x"], &["a"]);
    check("[!]x]", &["a"], &["]", "x"]);
    check("[z-a]", &[], &["z", "a", "-", ""]);
    check("[!z-a]", &["z", "a", "-"], &["", "zz"]);
    check("[a-]", &["a", "-"], &["b"]);
    check("[", &["["], &["a"]);
    check("[abc", &["[abc"], &["a"]);
    check("a**b", &["ab", "axxb"], &["a"]);
    check("*", &["", "a/b"], &[]);
    check("ü?", &["üä"], &["ü", "üäö"]);
    check("[^a]", &["^", "a"], &["b"]);
    check("[\\\\]", &["\\"], &["a"]);
}

#[test]
fn texts_that_are_no_patterns_are_refused_with_the_reason() {
    let check = |text: &str, reason: &str| {
        assert_eq!(text.parse::<Pattern>().unwrap_err().reason, reason);
    };
    check("", "it is empty");
    check(&"a".repeat(256), "it is longer than 255 characters");
    check("a\0", "it holds a control character");
    assert!(means(&"*a".repeat(127), &"a".repeat(1024)), "the longest patterns are taken");
    let folder = format!("{}/", "a".repeat(254));
    assert!(means(&folder, &format!("{folder}x")) && !means(&folder, "a"));
}

#[test]
fn a_pattern_of_stars_takes_no_longer_than_any_other() {
    // Two hundred stars would take a matcher that tries all ways longer than the world has been there.
    let matcher = format!("{}b", "*a".repeat(127)).parse::<Pattern>().unwrap().matcher();
    let path = "a".repeat(1024);
    for _ in 0..1000 {
        assert!(!matcher.matches(&path));
    }
}

/// Asks Python about all pairs in one process. `None` where there is no Python.
fn ask_python(pairs: &[(String, String)]) -> Option<Vec<bool>> {
    const PROGRAM: &str = "import fnmatch, json, sys\n\
        full = lambda p: p + '*' if p.endswith('/') else p\n\
        print(json.dumps([fnmatch.fnmatchcase(t, full(p)) for p, t in json.load(sys.stdin)]))";
    let mut child = Command::new("python3")
        .args(["-W", "ignore", "-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let input = serde_json::to_vec(pairs).unwrap();
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn any_pattern_means_what_python_says() {
    let seed = Entropy::System.number();
    let entropy = Entropy::seeded(seed);
    let text = |alphabet: &[char], longest: u64| -> String {
        let len = entropy.number() % (longest + 1);
        (0..len).map(|_| alphabet[entropy.number() as usize % alphabet.len()]).collect()
    };
    // Few letters, so that many pairs match; one alphabet for sets with dashes, one for all that is special.
    let special: Vec<char> = r"ab[]!^*?/.&|~\-".chars().collect();
    let ranges: Vec<char> = "abcde[]!-".chars().collect();
    let mut pairs: Vec<(String, String)> = Vec::new();
    while pairs.len() < 20_000 {
        let alphabet = if pairs.len().is_multiple_of(2) { &special } else { &ranges };
        let pattern = text(alphabet, 12);
        if !pattern.is_empty() {
            pairs.push((pattern, text(alphabet, 4)));
        }
    }
    let Some(answers) = ask_python(&pairs) else {
        eprintln!("skipped: there is no python3");
        return;
    };
    for ((pattern, path), expected) in pairs.iter().zip(answers) {
        assert_eq!(means(pattern, path), expected, "{pattern:?} and {path:?}, seed {seed}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(pattern in "\\PC{1,60}", path in "\\PC{0,60}") {
        if let Ok(pattern) = pattern.parse::<Pattern>() {
            let _ = pattern.matcher().matches(&path);
            let text = serde_json::to_string(&pattern).unwrap();
            proptest::prop_assert_eq!(serde_json::from_str::<Pattern>(&text).unwrap(), pattern);
        }
    }
}
