//! The store's figures for docs/benchmarks.md, each beside what the same machine does without it in the same run: views
//! for a hundred workers, verification beside plain hashing, opening a full store beside listing it, importing a cache by
//! links beside `cp -al`, and a worker's first read with and without a warmed page cache.
//!
//! Takes about 5 GB below the temporary folder. `LARDER_BENCH_BYTES` makes the large model smaller.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't go on stops")]

mod figures {
    //! One module for each figure.
    pub(crate) mod import;
    pub(crate) mod open;
    pub(crate) mod pool;
    pub(crate) mod verify;
    pub(crate) mod views;
    pub(crate) mod warm;
}

use figures::{import, open, pool, verify, views, warm};

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    let folder = tempfile::Builder::new().prefix("larder-bench-").tempdir().unwrap();
    let large = ["views", "verify", "warm", "import"].iter().any(|name| is_wanted(name));
    let model = large.then(|| pool::large_model(folder.path()));
    if let Some(model) = &model {
        if is_wanted("views") {
            views::run(model);
        }
        if is_wanted("verify") {
            verify::run(model);
        }
        if is_wanted("warm") {
            warm::run(model);
        }
        if is_wanted("import") {
            import::run(model, folder.path());
        }
    }
    if is_wanted("open") {
        open::run(folder.path());
    }
}
