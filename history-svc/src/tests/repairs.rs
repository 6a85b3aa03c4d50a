use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use quics_kit::clock::SystemClock;
use quics_kit::telemetry::Link;
use quics_types::EntryId;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::db::records::Cause;
use crate::repair::{self, Found};
use crate::{Error, Finder, Parts, Service};

struct Nowhere;

impl Finder for Nowhere {
    fn find(&self) -> Pin<Box<dyn Future<Output = Result<Link, Error>> + Send + '_>> {
        Box::pin(std::future::ready(Err(Error::SyncAway)))
    }
}

fn service(history: &History) -> Arc<Service> {
    Service::new(Parts {
        meta: history.meta.clone(),
        access: Arc::new(Everybody),
        sync: Arc::new(Nowhere),
        shares: Arc::new(()),
        clock: Arc::new(SystemClock),
        shutdown: CancellationToken::new(),
    })
}

/// Compares with what the server has, in pages of this size, as its snapshot comes.
async fn compare(history: &History, server: &Server, size: usize) {
    let mut seqs = BTreeMap::new();
    for event in &server.events {
        if let Some(after) = &event.after {
            seqs.insert(EntryId::from_slice(&after.entry_id).unwrap(), event.cursor.unwrap().seq);
        }
    }
    let found = |row: &Row| Found {
        seq: seqs[&row.id],
        row: row.clone(),
        device: DEVICE,
        accepted: Server::moment(seqs[&row.id]),
    };
    let rows: Vec<Found> = server.rows.values().filter(|row| !row.dead).map(found).collect();
    let service = service(history);
    let (mut after, mut absent) = (None, Vec::new());
    for page in rows.chunks(size) {
        let last = page.last().map(|found| found.row.id);
        let page = page.iter().map(|it| found(&it.row)).collect();
        let taken = flushing(history, repair::take_in(&service, ROOT, after, last, page)).await;
        absent.extend(taken.unwrap());
        after = last;
    }
    absent.extend(flushing(history, repair::take_in(&service, ROOT, after, None, Vec::new())).await.unwrap());
    flushing(history, repair::bury(&service, ROOT, server.seq, absent)).await.unwrap();
}

/// The store in memory makes durable what it is told to.
async fn flushing<T>(history: &History, work: impl Future<Output = T>) -> T {
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(1));
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => history.meta.sync().unwrap(),
        }
    }
}

fn tree(history: &History) -> BTreeMap<String, (EntryId, Value)> {
    let mut found = BTreeMap::new();
    let top = crate::encode::Subject::Path(Vec::new());
    let out = |entries: Vec<quics_proto::history::v1::Version>| {
        for entry in entries {
            let row = Row::try_from(entry.row.unwrap()).unwrap();
            found.insert(String::from_utf8(entry.path.to_vec()).unwrap(), (row.id, row.value));
        }
        true
    };
    crate::query::tree::list(history.view(), &top, None, true, WallTime(u64::MAX), out).unwrap();
    found
}

#[tokio::test]
async fn after_events_were_lost_history_has_what_the_server_has_and_says_what_is_missing() {
    for seed in 1..25 {
        let mut dice = Dice::of(seed);
        let mut server = Server::default();
        while server.seq < 100 {
            server.live_on(&mut dice);
        }
        let history = History::new();
        let (lost_from, lost_to) = (dice.roll(60) as usize, 60 + dice.roll(40) as usize);
        history.apply(&server.events[..lost_from]);
        history.apply(&server.events[lost_to..]);
        compare(&history, &server, 1 + seed as usize % 7).await;
        assert_eq!(tree(&history), server.tree(), "seed {seed}");
        let state = history.view().state().unwrap().unwrap();
        assert_eq!(state.point.seq, server.seq);
        // Compared again, nothing more is found.
        compare(&history, &server, 5).await;
        assert_eq!(history.view().state().unwrap().unwrap().versions, state.versions, "seed {seed}");
    }
}

#[tokio::test]
async fn without_a_store_everything_is_found_as_it_is_and_its_past_is_missing() {
    let mut server = Server::default();
    server.set(id(0), Some((place(EntryId::TOP, "a"), file(1)))).unwrap();
    server.set(id(0), Some((place(EntryId::TOP, "a"), file(2)))).unwrap();
    let history = History::new();
    compare(&history, &server, 10).await;
    let at = history.view().at(id(0), history.view().newest_point().unwrap()).unwrap().unwrap();
    assert_eq!((at.version.cause, at.point.seq), (Cause::Found, 2));
    assert_eq!(crate::encode::version(history.view(), &at).unwrap().missing, 1);
}
