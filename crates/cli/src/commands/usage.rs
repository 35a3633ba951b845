//! `larder usage`.

use std::time::Duration;

use api::UsageRecord;
use base::ByteSize;

use crate::{
    args::{OutputFormat, UsageArgs},
    client::Client,
    failure::Failure,
    screen::Screen,
    table::{Align, Table},
    words,
};

/// Shows what endpoints used.
pub(crate) async fn run(arguments: UsageArgs, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let usage = client.usage(arguments.endpoint.as_deref()).await?;
    if screen.format() == OutputFormat::Json {
        return screen.json(&usage);
    }
    let mut table = Table::new([
        ("ENDPOINT", Align::Left),
        ("PHASE", Align::Left),
        ("TIME", Align::Right),
        ("BILLED", Align::Left),
    ]);
    for record in &usage.records {
        add(&mut table, record);
    }
    table.write(screen, "nothing was used")
}

fn add(table: &mut Table, record: &UsageRecord) {
    let name = if record.endpoint_name.is_empty() {
        format!("{} (deleted)", record.endpoint_id)
    } else {
        record.endpoint_name.clone()
    };
    let mut billed = Duration::ZERO;
    let mut unbilled = Duration::ZERO;
    for phase in &record.phases {
        let time = Duration::try_from_secs_f64(phase.seconds).unwrap_or_default();
        *(if phase.billed { &mut billed } else { &mut unbilled }) += time;
        let word = if phase.billed { "yes" } else { "no" };
        table.row([name.clone(), phase.phase.to_string(), words::for_people(time), word.to_owned()]);
    }
    let workers = match record.workers {
        1 => "1 worker".to_owned(),
        count => format!("{count} workers"),
    };
    let sum =
        format!("{} s billed, {} fetched, {workers}", record.billed_seconds, ByteSize(record.fetched_bytes));
    table.row([name, "in all".to_owned(), words::for_people(billed + unbilled), sum]);
}
