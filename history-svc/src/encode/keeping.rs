//! Policies and amounts as messages, and back.

use quics_proto::history::v1 as history;
use quics_types::DeviceId;

use super::stamp;
use crate::keep::policy::{Policy, Rule};

/// A policy as it is told.
pub(crate) fn policy(policy: &Policy) -> history::Policy {
    let rule = |rule: &Rule| history::KeepRule {
        glob: rule.glob.clone(),
        every_days: rule.every,
        daily_days: rule.daily,
        weekly_days: rule.weekly,
        words: rule.words(),
    };
    history::Policy {
        revision: policy.revision,
        rules: policy.rules.iter().map(rule).collect(),
        size_cap: policy.cap.unwrap_or_default(),
        device_name: policy.device_name.clone(),
        user_name: policy.user_name.clone(),
        set_at: (policy.revision > 0).then(|| stamp(policy.at)).flatten(),
    }
}

/// A policy as it is asked for; without rules, the default.
pub(crate) fn asked(policy: history::Policy) -> Policy {
    let usual = Policy { revision: policy.revision, device: DeviceId::SERVER, ..Policy::default() };
    if policy.rules.is_empty() {
        return usual;
    }
    let rule = |rule: history::KeepRule| Rule {
        glob: rule.glob,
        every: rule.every_days,
        daily: rule.daily_days,
        weekly: rule.weekly_days,
    };
    let cap = (policy.size_cap > 0).then_some(policy.size_cap);
    Policy { rules: policy.rules.into_iter().map(rule).collect(), cap, ..usual }
}

/// Versions, and bytes of their contents.
pub(crate) fn amount((versions, bytes, estimated): (u64, u64, bool)) -> Option<history::Amount> {
    Some(history::Amount { versions, bytes, estimated })
}
