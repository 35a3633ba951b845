//! What a command waits for, as it happens: a spinner or a bar for a person, a line for each step elsewhere.

mod fetch;

use std::time::Duration;

use api::FetchView;
use base::ByteSize;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{screen::Screen, words};

pub(crate) use fetch::FetchProgress;

/// How often a spinner turns. Ten times a second looks steady.
const TICK: Duration = Duration::from_millis(100);
/// Where nobody watches a bar, a fetch is told at its start and after each quarter.
const FETCH_LINES: u64 = 4;

/// Of what is long, so much fits a line with its spinner and time.
const STEP: &str = "{spinner} {elapsed:>3.dim} {wide_msg}";
/// Counted things: a bar, then which one it is at.
const COUNT: &str = "{spinner} {bar:24.cyan/dim} {wide_msg}";
/// Bytes: a bar, how much of how much, and as much of what arrives as fits.
const BYTES: &str = "{spinner} {bar:24.cyan/dim} {prefix} {wide_msg:.dim}";

/// Shows one wait. Dropping it takes it off the screen.
#[derive(Debug, Default)]
pub struct Progress {
    bar: Option<Bar>,
    told: String,
}

/// A bar and the template it was made with: another template is another bar, so that no mixture of two is drawn.
#[derive(Debug)]
struct Bar {
    template: &'static str,
    drawn: ProgressBar,
}

/// What a bar shows at one moment.
#[derive(Clone, Debug, Default)]
struct Shown<'a> {
    message: &'a str,
    prefix: String,
    measure: Option<(u64, u64)>,
}

impl Progress {
    /// Makes a progress that shows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows a step without a measure.
    pub fn step(&mut self, screen: &mut Screen, text: &str) {
        if screen.is_interactive() {
            self.draw(STEP, &Shown { message: text, ..Shown::default() });
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
            let shown = Shown { message: text, measure: Some((done, total)), ..Shown::default() };
            self.draw(COUNT, &shown);
        } else {
            self.tell(screen, text, text);
        }
    }

    /// Shows how far a fetch is, with its rate and the time left.
    pub fn fetch(&mut self, screen: &mut Screen, text: &str, fetch: &FetchView) {
        let (done, total) = (fetch.bytes_done, fetch.bytes_total);
        let tail = words::fetch_tail(fetch);
        if screen.is_interactive() {
            self.draw_bytes(text, done, total, &tail);
            return;
        }
        let key = format!("{text} {}", (done * FETCH_LINES).checked_div(total).unwrap_or(0));
        let line = format!("{text}: {} of {}{tail}", ByteSize(done), ByteSize(total));
        self.tell(screen, &key, &line);
    }

    /// Takes the bar off the screen, so that lines can be written.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.drawn.finish_and_clear();
        }
    }

    fn draw_bytes(&mut self, text: &str, done: u64, total: u64, tail: &str) {
        let prefix = format!("{} of {}{tail}", ByteSize(done), ByteSize(total));
        self.draw(BYTES, &Shown { message: text, prefix, measure: Some((done, total)) });
    }

    fn draw(&mut self, template: &'static str, shown: &Shown<'_>) {
        match &self.bar {
            Some(bar) if bar.template == template => set(&bar.drawn, shown),
            Some(_) | None => {
                let elapsed = self.bar.as_ref().map_or(Duration::ZERO, |bar| bar.drawn.elapsed());
                self.clear();
                let drawn = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
                let drawn = drawn.with_style(style(template)).with_elapsed(elapsed);
                set(&drawn, shown);
                // Shown only now that all of it is set: a bar that is half set is drawn as it is.
                drawn.set_draw_target(ProgressDrawTarget::stderr());
                drawn.enable_steady_tick(TICK);
                self.bar = Some(Bar { template, drawn });
            }
        }
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

fn set(bar: &ProgressBar, shown: &Shown<'_>) {
    if let Some((done, total)) = shown.measure {
        bar.set_length(total);
        bar.set_position(done);
    }
    bar.set_prefix(shown.prefix.clone());
    bar.set_message(shown.message.to_owned());
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are fixed and valid")
}
