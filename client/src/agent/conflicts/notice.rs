//! Desktop notifications, where a notification service runs (org.freedesktop.Notifications on the session bus).
//!
//! A burst of conflicts is one notification, and the next one takes its place: there is never more than one of ours.
//! Without a bus or a service nothing is shown, and the log says so once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use quics_proto::sync::v1 as sync;
use quics_types::RootId;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use zbus::Variant;

use crate::agent::Core;

/// News that follow each other within this time are one notification.
const BURST: Duration = Duration::from_secs(2);
/// The shortest time between two notifications.
const PAUSE: Duration = Duration::from_secs(30);
/// How long the bus and the service may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells people of conflicts and brakes that wait for them, for ever.
pub(super) async fn keep(core: &Arc<Core>, mut news: Receiver<Arc<sync::ConflictPrompt>>) {
    let mut shown: u32 = 0;
    let mut absent = false;
    let mut braked = core.desk.braked.subscribe();
    loop {
        let (title, text) = tokio::select! {
            first = next(&mut news) => {
                let Some(first) = first else { return };
                ("Two versions of a file", conflicts(core, &first, &mut news).await)
            }
            // The sender lives as long as the core.
            Ok(()) = braked.changed() => match braked_text(&braked.borrow_and_update()) {
                Some(text) => ("A device is braked", text),
                None => continue,
            },
        };
        match tokio::time::timeout(PATIENCE, show(title, &text, shown)).await {
            Ok(Ok(id)) => {
                (shown, absent) = (id, false);
                tracing::debug!(title, "notice.shown");
                tokio::time::sleep(PAUSE).await;
            }
            failed => {
                if !std::mem::replace(&mut absent, true) {
                    tracing::debug!(?failed, "notice.unavailable");
                }
            }
        }
    }
}

/// What to say of news, and of those that follow soon.
async fn conflicts(
    core: &Arc<Core>,
    first: &sync::ConflictPrompt,
    news: &mut Receiver<Arc<sync::ConflictPrompt>>,
) -> String {
    let mut count = 1;
    let end = tokio::time::Instant::now() + BURST;
    while let Ok(Some(_more)) = tokio::time::timeout_at(end, next(news)).await {
        count += 1;
    }
    match count {
        1 => one(core, first).await,
        _ => format!("{} wait for your choice: quics resolve", crate::text::count(count, "conflict")),
    }
}

/// What to say of the devices that are braked; `None` where none is.
fn braked_text(braked: &BTreeMap<RootId, Vec<String>>) -> Option<String> {
    let devices: Vec<&str> = braked.values().flatten().map(String::as_str).collect();
    let names = devices.join(", ");
    (!devices.is_empty()).then(|| format!("{names} changed or deleted unusually much and is held: quics hold"))
}

/// Waits for news that a person should see.
async fn next(news: &mut Receiver<Arc<sync::ConflictPrompt>>) -> Option<Arc<sync::ConflictPrompt>> {
    loop {
        match news.recv().await {
            Ok(prompt) if calls(&prompt) => return Some(prompt),
            // What was lost was part of a burst, of which there is more to come.
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

/// Whether news call for a person: their answer is waited for, and they were not told before.
fn calls(prompt: &sync::ConflictPrompt) -> bool {
    use sync::PromptNews::{NewCandidate, Open, Reminder, Reopened};

    prompt.asked && matches!(prompt.news(), Open | NewCandidate | Reminder | Reopened)
}

async fn one(core: &Core, prompt: &sync::ConflictPrompt) -> String {
    let root = quics_types::RootId::from_slice(&prompt.root_id).ok().and_then(|id| core.roots.lock().get(&id).cloned());
    let told = match root {
        Some(root) => core.tell(&root, prompt).await.map(|told| told.text),
        None => None,
    };
    told.unwrap_or_else(|| "A conflict waits for your choice: quics resolve".to_owned())
}

/// Shows a notification in the place of the one before; gives its number.
async fn show(title: &str, text: &str, replaces: u32) -> zbus::Result<u32> {
    let bus = zbus::Connection::session().await?;
    let hints: HashMap<&str, Variant<'_>> =
        HashMap::from([("category", Variant::from("transfer")), ("urgency", Variant::from(1u8))]);
    let actions: [&str; 0] = [];
    // Application, number, icon, title, text, actions, hints, time on the screen (-1: as the service likes).
    // The text may be taken for markup by the service.
    let body = ("quics", replaces, "folder-sync", title, escape(text), &actions[..], hints, -1i32);
    let (service, path) = ("org.freedesktop.Notifications", "/org/freedesktop/Notifications");
    let reply = bus.call_method(Some(service), path, Some(service), "Notify", &body).await?;
    reply.body().deserialize()
}

/// Makes a text safe where a service reads markup.
fn escape(text: &str) -> String {
    crate::text::line(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_news_that_wait_for_this_person_call_them() {
        let prompt =
            |news: sync::PromptNews, asked| sync::ConflictPrompt { news: news as i32, asked, ..Default::default() };
        assert!(
            calls(&prompt(sync::PromptNews::NewCandidate, true)) && calls(&prompt(sync::PromptNews::Reminder, true))
        );
        assert!(!calls(&prompt(sync::PromptNews::NewCandidate, false)));
        for quiet in [sync::PromptNews::Resolved, sync::PromptNews::Withdrawn, sync::PromptNews::NewVersion] {
            assert!(!calls(&prompt(quiet, true)), "{quiet:?}");
        }
    }

    #[test]
    fn a_name_is_no_markup() {
        assert_eq!(escape("<b>&\n"), "&lt;b&gt;&amp;\\n");
    }
}
