//! What the demo shows in the end: the timeline of each start, the answer, the ledger.

use std::time::Duration;

use base::ByteSize;
use cli::{Align, Client, Failure, Screen, Table, for_people, millis};
use types::StartMark;

use super::{
    act::{Act, Acts, ENDPOINT, QUERY},
    stage::Stage,
};

/// The marks in the order in which they happen.
const MARKS: [StartMark; 9] = [
    StartMark::Queued,
    StartMark::Placed,
    StartMark::FetchStarted,
    StartMark::Fetched,
    StartMark::ViewMounted,
    StartMark::ProcessStarted,
    StartMark::FirstPing,
    StartMark::FirstTake,
    StartMark::FirstDone,
];

/// The longest bar of the picture: with its number and time it fits a line of 80 columns.
const PICTURE_WIDTH: usize = 60;

/// Writes everything.
pub(super) fn write(acts: &Acts, screen: &mut Screen) -> Result<(), Failure> {
    screen.line("")?;
    write_timeline(acts, screen)?;
    screen.line("")?;
    screen.line(format!("Asked:   {QUERY}"))?;
    screen.line(format!("Nearest: {} (score {:.2})", acts.third.answer.nearest, acts.third.answer.score))?;
    screen.line("")?;
    write_ledger(acts, screen)
}

fn write_timeline(acts: &Acts, screen: &mut Screen) -> Result<(), Failure> {
    let right = Align::Right;
    let mut table = Table::new([
        ("AFTER THE REQUEST", Align::Left),
        ("1 NOTHING ANYWHERE", right),
        ("2 ON THE SHELF", right),
        ("3 WARM", right),
    ]);
    for mark in MARKS {
        let cells = [after(&acts.first, mark), after(&acts.second, mark), warm(&acts.third, mark)];
        if cells.iter().any(Option::is_some) {
            let [first, second, third] =
                cells.map(|cell| cell.map_or_else(String::new, |after| format!("{after} ms")));
            table.row([mark.as_str().to_owned(), first, second, third]);
        }
    }
    table.write(screen, "no start left a mark")?;
    screen.line("")?;
    for line in picture(&[spans_of(&acts.first), spans_of(&acts.second), warm_spans(&acts.third)]) {
        screen.line(line)?;
    }
    screen.line("   ▒ held, not billed   ░ starting   █ working")
}

/// How long a request was held, how long its worker started, and how long it was worked on, in milliseconds.
type Spans = [i64; 3];

fn spans_of(act: &Act) -> Spans {
    let at = |mark| after(act, mark).unwrap_or(0);
    let held = at(StartMark::ProcessStarted);
    let started = at(StartMark::FirstTake).max(held);
    [held, started - held, at(StartMark::FirstDone).max(started) - started]
}

fn warm_spans(act: &Act) -> Spans {
    [0, 0, warm(act, StartMark::FirstDone).unwrap_or(0)]
}

/// Draws each request as a bar; the longest is as wide as the picture. What took any time is seen.
fn picture(requests: &[Spans]) -> Vec<String> {
    let longest = requests.iter().map(|spans| spans.iter().sum()).max().unwrap_or(0).max(1);
    let draw = |(number, spans): (usize, &Spans)| {
        let width = |span: i64| match usize::try_from(span).unwrap_or(0) * PICTURE_WIDTH {
            0 => 0,
            wide => (wide / usize::try_from(longest).unwrap_or(1)).max(1),
        };
        let [held, starting, working] = spans.map(width);
        let bar = ["▒".repeat(held), "░".repeat(starting), "█".repeat(working)].concat();
        format!("{}  {bar} {}", number + 1, millis(u64::try_from(spans.iter().sum::<i64>()).unwrap_or(0)))
    };
    requests.iter().enumerate().map(draw).collect()
}

fn after(act: &Act, wanted: StartMark) -> Option<i64> {
    act.worker.timeline.iter().find(|mark| mark.mark == wanted).map(|mark| mark.after)
}

/// A request to a warm worker has only a beginning and an end.
fn warm(act: &Act, wanted: StartMark) -> Option<i64> {
    match wanted {
        StartMark::Queued => Some(0),
        StartMark::FirstDone => Some(act.job.delay_time? + act.job.execution_time?),
        StartMark::Placed
        | StartMark::FetchStarted
        | StartMark::Fetched
        | StartMark::ViewMounted
        | StartMark::ProcessStarted
        | StartMark::FirstPing
        | StartMark::FirstTake => None,
    }
}

fn write_ledger(acts: &Acts, screen: &mut Screen) -> Result<(), Failure> {
    let mut table =
        Table::new([("LEDGER", Align::Left), ("BILLED", Align::Right), ("NOT BILLED", Align::Right)]);
    let mut sums = [Duration::ZERO; 2];
    let mut fetched = 0;
    let mut billed_seconds = 0;
    for record in &acts.usage.records {
        fetched += record.fetched_bytes;
        billed_seconds += record.billed_seconds;
        for phase in &record.phases {
            let time = Duration::try_from_secs_f64(phase.seconds).unwrap_or_default();
            sums[usize::from(!phase.billed)] += time;
            let cell = for_people(time);
            let (billed, not_billed) =
                if phase.billed { (cell, String::new()) } else { (String::new(), cell) };
            table.row([phase.phase.to_string(), billed, not_billed]);
        }
    }
    let [billed, not_billed] = sums;
    table.row(["in all".to_owned(), for_people(billed), for_people(not_billed)]);
    table.write(screen, "nothing was used")?;
    screen.line(format!(
        "On the bill: {billed_seconds} s, each worker rounded up to whole seconds. Fetched, unbilled: {}.",
        ByteSize(fetched)
    ))
}

/// Writes what to try on what was left running.
pub(super) fn write_next(stage: &Stage, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let (program, data) = (stage.program().display(), stage.data_folder());
    let data = data.display();
    let server = client.server().as_str().trim_end_matches('/');
    screen.line("")?;
    screen.line("Everything goes on running. Try, in another terminal:")?;
    screen.line(format!("  {program} --data-dir {data} run {ENDPOINT} '{{\"text\": \"hello\"}}'"))?;
    screen.line(format!("  {program} --data-dir {data} worker list"))?;
    screen.line(format!("  {program} --data-dir {data} model list"))?;
    screen.line(format!(
        "  curl -H \"Authorization: Bearer $(cat {data}/admin.key)\" \
         -d '{{\"input\": {{\"text\": \"hello\"}}}}' {server}/v2/{ENDPOINT}/runsync"
    ))?;
    screen.line("Ctrl-C ends it.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_drawn_to_scale() {
        let drawn = picture(&[[3000, 2900, 100], [1, 2999, 0], [0, 0, 300], [0, 0, 0]]);
        assert_eq!(
            drawn,
            [
                format!("1  {}{}█ 6 s", "▒".repeat(30), "░".repeat(29)),
                format!("2  ▒{} 3 s", "░".repeat(29)),
                "3  ███ 300 ms".to_owned(),
                "4   0 ms".to_owned(),
            ]
        );
    }
}
