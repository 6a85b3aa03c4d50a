//! What may be shared, by whom, and for how long: the stricter of what the server and the root say.

use std::time::Duration;

use quics_records::{Reads, get};
use quics_types::{Role, RootId, WallTime};

use crate::Error;
use crate::db::keys;
use crate::db::records::{Policy, Sharers};

/// How long a link lasts where it is not said.
const USUAL: Duration = Duration::from_secs(7 * 24 * 3600);

/// What holds for every root, as whoever runs the server says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ServerPolicy {
    pub(crate) sharers: Sharers,
    pub(crate) longest: Option<Duration>,
    pub(crate) password_required: bool,
}

/// The root's own policy.
pub(crate) fn of(reads: Reads<'_>, root: RootId) -> Result<Policy, Error> {
    Ok(get(reads, &keys::policy(root))?.map(|kept| kept.record).unwrap_or_default())
}

/// What holds for a link of a root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    sharers: Sharers,
    longest: Option<Duration>,
    password_required: bool,
}

impl Rules {
    pub(crate) fn of(server: ServerPolicy, root: &Policy) -> Self {
        let longest = root.longest.map(Duration::from_secs);
        Self {
            sharers: server.sharers.max(root.sharers),
            longest: [server.longest, longest].into_iter().flatten().min(),
            password_required: server.password_required || root.password_required,
        }
    }

    /// Fails unless somebody with this role may make links.
    pub(crate) fn may_share(&self, role: Role) -> Result<(), Error> {
        let who = match self.sharers {
            Sharers::Readers => return Ok(()),
            Sharers::Writers if role >= Role::Writer => return Ok(()),
            Sharers::Owners if role >= Role::Owner => return Ok(()),
            Sharers::Writers => "only who may write",
            Sharers::Owners => "only owners",
            Sharers::Nobody => "nobody",
        };
        Err(Error::MayNotShare(who))
    }

    /// Fails if a link needs a password and has none.
    pub(crate) fn password(&self, has: bool) -> Result<(), Error> {
        if self.password_required && !has {
            return Err(Error::Policy("links of this root need a password: set one (--password)".to_owned()));
        }
        Ok(())
    }

    /// When a link ends for which this was asked; `None` inside: only when it is revoked.
    pub(crate) fn expiry(&self, asked: Option<Expiry>, now: WallTime) -> Result<Option<WallTime>, Error> {
        let after = |time: Duration| WallTime(now.0.saturating_add(micros(time)));
        let latest = self.longest.map(after);
        let expires = match asked {
            None => return Ok(Some(after(self.longest.map_or(USUAL, |longest| longest.min(USUAL))))),
            Some(Expiry::Never) => None,
            Some(Expiry::After(time)) => Some(after(time)),
            Some(Expiry::At(time)) => Some(time),
        };
        if expires.is_some_and(|expires| expires <= now) {
            return Err(Error::Asked("the link would have expired already: say a time that is to come".to_owned()));
        }
        match latest {
            Some(latest) if expires.is_none_or(|expires| expires > latest) => {
                let days = self.longest.unwrap_or_default().as_secs_f64() / 86_400.0;
                Err(Error::Policy(format!(
                    "links of this root last at most {} days (--expires)",
                    (days * 10.0).round() / 10.0
                )))
            }
            _ => Ok(expires),
        }
    }
}

/// When a link is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    After(Duration),
    At(WallTime),
    Never,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const NOW: WallTime = WallTime(1_000_000_000);

    fn rules(server: ServerPolicy, root: Policy) -> Rules {
        Rules::of(server, &root)
    }

    fn in_days(days: u64) -> Option<WallTime> {
        Some(WallTime(NOW.0 + days * 86_400_000_000))
    }

    #[test]
    fn the_stricter_of_both_holds() {
        let strict = ServerPolicy { sharers: Sharers::Writers, longest: Some(DAY * 3), password_required: false };
        let root = Policy {
            sharers: Sharers::Readers,
            longest: Some(9 * 86_400),
            password_required: true,
            ..Policy::default()
        };
        let rules = rules(strict, root);
        assert!(rules.may_share(Role::Reader).is_err() && rules.may_share(Role::Writer).is_ok());
        assert!(rules.password(false).is_err() && rules.password(true).is_ok());
        assert_eq!(rules.expiry(None, NOW).unwrap(), in_days(3), "the longest, where it is shorter than usual");
        assert!(rules.expiry(Some(Expiry::After(DAY * 4)), NOW).is_err());
        assert!(rules.expiry(Some(Expiry::Never), NOW).is_err());
        assert_eq!(rules.expiry(Some(Expiry::After(DAY * 2)), NOW).unwrap(), in_days(2));
    }

    #[test]
    fn without_a_policy_links_last_a_week_and_for_ever_only_when_that_is_said() {
        let rules = rules(ServerPolicy::default(), Policy::default());
        assert_eq!(rules.expiry(None, NOW).unwrap(), in_days(7));
        assert_eq!(rules.expiry(Some(Expiry::Never), NOW).unwrap(), None);
        assert!(matches!(rules.expiry(Some(Expiry::At(NOW)), NOW), Err(Error::Asked(_))));
        assert!(matches!(rules.expiry(Some(Expiry::After(Duration::ZERO)), NOW), Err(Error::Asked(_))));
        assert!(rules.may_share(Role::Reader).is_ok());
        let nobody = Policy { sharers: Sharers::Nobody, ..Policy::default() };
        assert!(Rules::of(ServerPolicy::default(), &nobody).may_share(Role::Owner).is_err());
    }
}
