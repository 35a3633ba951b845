//! Several fetches at once: who goes first, who goes on, and what they may take together.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_demoted_fetch_goes_on_and_a_cancelled_one_ends() {
    let check = async |on_last_leave: OnLastLeave, plan: Plan, is_here: bool| {
        let host = Host::start(patient(), Clock::System);
        let (manifest, source) = model(&[("b.bin", 20 * EXTENT, Kind::Large)]);
        let source = source.planned(move |ask| if ask.offset == 0 { Plan::Whole } else { plan.clone() });
        let request = FetchRequest { on_last_leave, ..host.request(&manifest, source) };
        let handle = host.transfer.fetch(request);
        let mut progress = handle.progress();
        soon(progress.wait_for(|shown| shown.bytes_done.0 > 0)).await.unwrap();
        drop(handle);
        let is_over =
            |shown: &FetchProgress| matches!(shown.state, FetchState::Done | FetchState::Failed { .. });
        let ended = soon(progress.wait_for(is_over)).await.unwrap().state.clone();
        assert_eq!(ended == FetchState::Done, is_here, "{on_last_leave:?}: {ended:?}");
        assert_eq!(host.store.get(manifest.key()).is_some(), is_here);
    };
    check(OnLastLeave::Demote, Plan::Slow, true).await;
    check(OnLastLeave::Cancel, Plan::HangAfter(10), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_demoted_fetch_is_not_held_up_by_others() {
    let host = Host::start(TransferOptions { connections_max: 1, ..options() }, Clock::System);
    let (manifest, source) = model(&[("b.bin", 4 * EXTENT, Kind::Large)]);
    let request = FetchRequest {
        on_last_leave: OnLastLeave::Demote,
        ..host.request(&manifest, source.planned(|_| Plan::Slow))
    };
    let left = host.transfer.fetch(request);
    let mut progress = left.progress();
    soon(progress.wait_for(|shown| shown.bytes_done.0 > 0)).await.unwrap();
    drop(left);
    let (other, other_source) = model(&[("c.bin", 2000 * EXTENT, Kind::Large)]);
    let large = host.transfer.fetch(host.request(&other, other_source.planned(|_| Plan::Slow)));
    let wanted = FetchRequest {
        priority: FetchPriority::Awaited,
        ..host.request(&manifest, source.planned(|_| Plan::Slow))
    };
    soon(host.transfer.fetch(wanted).join()).await.unwrap();
    assert_ne!(large.progress().borrow().state, FetchState::Done, "the urgent one came first");
    host.assert_sound(&manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_small_fetch_does_not_wait_for_a_large_one() {
    let host = Host::start(TransferOptions { connections_max: 2, ..options() }, Clock::System);
    let (large, large_source) = model(&[("b.bin", 2000 * EXTENT, Kind::Large)]);
    let large = host.transfer.fetch(host.request(&large, large_source.planned(|_| Plan::Slow)));
    let mut progress = large.progress();
    soon(progress.wait_for(|shown| shown.bytes_done.0 > 0)).await.unwrap();
    let (small, small_source) = model(&[("a.json", 50, Kind::Git), ("c.bin", EXTENT, Kind::Large)]);
    soon(host.transfer.fetch(host.request(&small, small_source.plain())).join()).await.unwrap();
    assert_ne!(progress.borrow().state, FetchState::Done, "the small one came first");
}

#[tokio::test(flavor = "multi_thread")]
async fn fetches_keep_to_their_rate_together() {
    let time = ManualTime::starting_at(Timestamp::from_millis(1_000_000));
    let limits = TransferOptions {
        rate_max: Some(ByteSize(20 * EXTENT)),
        stall_window: Duration::from_secs(3600),
        ..options()
    };
    let clock = Clock::Manual(time.clone());
    let host = Host::start(limits, clock.clone());
    let models: Vec<_> = ["b.bin", "c.bin"]
        .map(|name| model(&[(name, 20 * EXTENT, Kind::Large)]))
        .into_iter()
        .map(|(manifest, source)| host.transfer.fetch(host.request(&manifest, source.plain())).join())
        .collect();
    let began = clock.now();
    let both = futures::future::join_all(models);
    tokio::pin!(both);
    soon(async {
        loop {
            tokio::select! {
                ended = &mut both => break ended.into_iter().for_each(|ended| drop(ended.unwrap())),
                () = tokio::time::sleep(Duration::from_millis(2)) => time.advance(Duration::from_millis(20)),
            }
        }
    })
    .await;
    // 40 extents at 20 a second, of which a tenth of a second is free.
    let took = clock.now().since(began);
    assert!(took >= Duration::from_millis(1900), "{took:?}");
}
