//! What a command waits for, as it happens: a spinner or a bar for a person, a line for each step elsewhere.

use std::time::Duration;

use api::FetchView;
use base::ByteSize;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{screen::Screen, words};

/// How often a spinner turns. Ten times a second looks steady.
const TICK: Duration = Duration::from_millis(100);
/// Where nobody watches a bar, a fetch is told at its start and after each quarter.
const FETCH_LINES: u64 = 4;

/// Shows one wait. Dropping it takes it off the screen.
#[derive(Debug, Default)]
pub struct Progress {
    bar: Option<ProgressBar>,
    told: String,
}

impl Progress {
    /// Makes a progress that shows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows a step without a measure.
    pub fn step(&mut self, screen: &mut Screen, text: &str) {
        if screen.is_interactive() {
            let bar = self.bar.get_or_insert_with(new_bar);
            bar.unset_length();
            bar.set_style(style("{spinner} {msg} {elapsed:.dim}"));
            bar.set_message(text.to_owned());
        } else {
            self.tell(screen, text, text);
        }
    }

    /// Shows a step of so many bytes out of all.
    pub fn bytes(&mut self, screen: &mut Screen, text: &str, done: u64, total: u64) {
        if screen.is_interactive() {
            self.draw_bytes(text, done, total, "");
        } else {
            self.tell(screen, text, text);
        }
    }

    /// Shows a step of so many things out of all.
    pub fn count(&mut self, screen: &mut Screen, text: &str, done: u64, total: u64) {
        if screen.is_interactive() {
            let bar = self.bar.get_or_insert_with(new_bar);
            bar.set_style(style("{spinner} {bar:24.cyan/dim} {msg}"));
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(text.to_owned());
        } else {
            self.tell(screen, text, text);
        }
    }

    /// Shows how far a fetch is, with its rate and the time left.
    pub fn fetch(&mut self, screen: &mut Screen, text: &str, fetch: &FetchView) {
        let (done, total) = (fetch.bytes_done, fetch.bytes_total);
        let rate = match fetch.bytes_per_second {
            0 => String::new(),
            rate => format!(" at {}/s", ByteSize(rate)),
        };
        let left = fetch.eta.map_or_else(String::new, |eta| format!(", {} left", words::millis(eta)));
        if screen.is_interactive() {
            self.draw_bytes(text, done, total, &format!("{rate}{left}"));
            return;
        }
        let key = format!("{text} {}", (done * FETCH_LINES).checked_div(total).unwrap_or(0));
        let line = format!("{text}: {} of {}{rate}{left}", ByteSize(done), ByteSize(total));
        self.tell(screen, &key, &line);
    }

    /// Takes the bar off the screen, so that lines can be written.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn draw_bytes(&mut self, text: &str, done: u64, total: u64, tail: &str) {
        let bar = self.bar.get_or_insert_with(new_bar);
        bar.set_style(style("{spinner} {msg} {bar:24.cyan/dim} {prefix}"));
        bar.set_length(total);
        bar.set_position(done);
        bar.set_prefix(format!("{} of {}{tail}", ByteSize(done), ByteSize(total)));
        bar.set_message(text.to_owned());
    }

    fn tell(&mut self, screen: &mut Screen, key: &str, line: &str) {
        if self.told != key {
            key.clone_into(&mut self.told);
            screen.note(line);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.enable_steady_tick(TICK);
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are fixed and valid")
}
