//! The command line: whole, documented, and strict.

use clap::CommandFactory as _;
use expect_test::expect;

use super::*;

#[test]
fn the_grammar_is_whole() {
    Program::command().debug_assert();
}

#[test]
fn the_help_names_every_command() {
    let mut program = Program::command();
    program.build();
    let lines: Vec<String> = program
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
        .flat_map(|command| {
            let about = command.get_about().unwrap_or_default();
            let own = format!("{}: {about}\n", command.get_name());
            let below = command.get_subcommands().filter(|below| below.get_name() != "help").map(|below| {
                let about = below.get_about().unwrap_or_default().to_string();
                format!("  {}: {about}\n", below.get_name())
            });
            std::iter::once(own).chain(below).collect::<Vec<_>>()
        })
        .collect();
    expect![[r#"
        up: Run everything on this machine: server and agent, supervised
        demo: Watch a cold start, a cached one and a warm request, with a real model, on this machine
        server: Run the server alone: state, queue and the public API
        agent: Run the agent alone: models and workers of this host
        hub: Be a hub
          serve: Serve a folder of models in the Hugging Face Hub protocol
        simulate: Find out what a policy would do, by virtual time
          eviction: Compare what leaves a full disk by larder's policy, by others, and by whoever knew the future
        endpoint: Make, show and change endpoints
          create: Make an endpoint
          list: List endpoints
          get: Show an endpoint, and what its starts wait for
          update: Change an endpoint: only what is given changes
          delete: Remove endpoints with their jobs and workers; models stay on the hosts
        run: Send a job to an endpoint and wait for its output
        job: Look after jobs that were sent before
          show: Show where a job stands
          wait: Wait for a job and print its output
          cancel: End a job
          retry: Try a failed job again
        model: Bring models to the hosts and look after them
          pull: Bring a model to the hosts before anything needs it
          cancel: Call off the fetch that a pull began; what has come stays until its room is needed
          list: List models on hosts, and models that endpoints want
          show: Show what a hub has to choose from, with sizes, before anything is fetched, and where the model stands
          pin: Keep a model on the hosts that have it, also when room is needed
          unpin: Let a pinned model go when its room is needed
          path: Print the folder of a model's files as a worker sees it
          verify: Read a model's files again and compare them with what the hub vouched for
          why: Tell why a model is on its hosts, or why it is gone
          import: Take over the models of a Hugging Face cache that stands on a host; every file is verified
          rm: Remove a model from its hosts, or call its fetch off
        worker: Look at workers
          list: List workers, newest first
          logs: Print the last lines that a worker wrote
          show: Show a worker with the timeline of its start
        usage: Show what endpoints used, by phase of their workers
        host: Look at hosts
          list: List hosts
          show: Show a host with what its store holds, may evict, and has found damaged
        completion: Print a completion script for a shell
        man: Print the manual page, or write all of them into a folder
    "#]]
    .assert_eq(&lines.concat());
}

#[test]
fn words_are_taken_and_refused() {
    let check = |line: &str, taken: bool| {
        let words = line.split(' ');
        assert_eq!(Program::try_parse_from(words).is_ok(), taken, "{line}");
    };
    check(
        "larder up --no-egress --listen 127.0.0.1:0 --isolation none --hub-endpoint http://127.0.0.1:1",
        true,
    );
    check("larder demo --prepare-only", true);
    check("larder demo --prepare-only --offline", false);
    check("larder hub serve models --listen 127.0.0.1:8060 --rate-max 1MB", true);
    check("larder endpoint create text-embed --command x --data-dir /tmp/x --output json", true);
    check("larder endpoint create Text_Embed --command x", false);
    check("larder endpoint create abc --command x --image y", false);
    check("larder", false);
}
