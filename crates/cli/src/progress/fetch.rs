//! A fetch as a person watches it: a bar for each large file under way, and one for all.

use std::collections::BTreeMap;

use api::{FetchView, FileView};
use base::ByteSize;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

use super::{FETCH_LINES, Progress, TICK, style};
use crate::{screen::Screen, words};

/// Bars of files at once: with the whole they leave most of a small terminal free.
const FILES_MAX: usize = 8;

/// One file: its bar, how much of how much, and its path.
const FILE: &str = "  {bar:24.cyan/dim} {prefix:>20} {wide_msg:.dim}";
/// The whole: its time, its bar, and how much of how much at which rate.
const ALL: &str = "{spinner} {elapsed:>3.dim} {bar:24.green/dim} {prefix} {wide_msg:.dim}";
/// Without a measure: what is waited for.
const WAIT: &str = "{spinner} {elapsed:>3.dim} {wide_msg}";

/// Shows a fetch. Dropping it takes it off the screen.
#[derive(Debug, Default)]
pub(crate) struct FetchProgress {
    drawn: Option<Drawn>,
    /// For those who look at lines.
    lines: Progress,
}

/// What is on the terminal.
#[derive(Debug)]
struct Drawn {
    all: MultiProgress,
    whole: ProgressBar,
    files: BTreeMap<String, ProgressBar>,
}

impl FetchProgress {
    /// Makes one that shows nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Shows what the fetch waits for.
    pub(crate) fn wait(&mut self, screen: &mut Screen, text: &str) {
        if !screen.is_interactive() {
            return self.lines.tell(screen, text, text);
        }
        let drawn = self.drawn.get_or_insert_with(Drawn::new);
        drawn.show_files(&[]);
        drawn.whole.set_style(style(WAIT));
        drawn.whole.set_message(text.to_owned());
    }

    /// Shows how far the fetch of a model is.
    pub(crate) fn show(&mut self, screen: &mut Screen, name: &str, fetch: &FetchView) {
        let tail = words::fetch_tail(fetch);
        let amount = format!("{} of {}{tail}", ByteSize(fetch.bytes_done), ByteSize(fetch.bytes_total));
        let from = words::sources(&fetch.sources);
        if !screen.is_interactive() {
            let part = (fetch.bytes_done * FETCH_LINES).checked_div(fetch.bytes_total).unwrap_or(0);
            let line = format!("fetching {name}{from}: {amount}");
            return self.lines.tell(screen, &format!("fetching {name} {part}"), &line);
        }
        let drawn = self.drawn.get_or_insert_with(Drawn::new);
        drawn.show_files(&fetch.files);
        drawn.whole.set_style(style(ALL));
        drawn.whole.set_length(fetch.bytes_total);
        drawn.whole.set_position(fetch.bytes_done);
        drawn.whole.set_prefix(amount);
        drawn.whole.set_message(format!("{} of {} files{from}", fetch.files_done, fetch.files_total));
    }
}

impl Drawn {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let whole = all.add(ProgressBar::no_length().with_style(style(WAIT)));
        whole.enable_steady_tick(TICK);
        Self { all, whole, files: BTreeMap::new() }
    }

    /// Shows exactly these files, the first of them when they are many.
    fn show_files(&mut self, files: &[FileView]) {
        let files = &files[..files.len().min(FILES_MAX)];
        let gone = self.files.extract_if(.., |path, _| files.iter().all(|file| file.path != *path));
        for (_, bar) in gone {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        for file in files {
            let bar = self.files.entry(file.path.clone()).or_insert_with(|| {
                let bar = ProgressBar::new(file.bytes_total).with_style(style(FILE));
                self.all.insert_before(&self.whole, bar)
            });
            bar.set_position(file.bytes_done);
            bar.set_prefix(format!("{} of {}", ByteSize(file.bytes_done), ByteSize(file.bytes_total)));
            bar.set_message(file.path.clone());
        }
    }
}

impl Drop for Drawn {
    fn drop(&mut self) {
        self.show_files(&[]);
        self.whole.finish_and_clear();
    }
}
