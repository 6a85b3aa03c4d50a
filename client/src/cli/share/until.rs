//! When a link ends, as people write it.

use quics_proto::share::v1::{Expiry, expiry};

use crate::cli::history;
use crate::text;

/// Seconds of the longest time that a message can carry (10 000 years).
const LONGEST: i64 = 315_576_000_000;

/// Reads when a link ends: "7d", "12h", a time that is to come, or "never".
pub(super) fn until(text: &str) -> Result<Expiry, String> {
    let expiry = match text.trim() {
        "never" => expiry::Expiry::Never(true),
        text => match seconds(text) {
            Some(Ok(seconds)) => expiry::Expiry::After(prost_types::Duration { seconds, nanos: 0 }),
            Some(Err(reason)) => return Err(reason),
            None => expiry::Expiry::At(history::coming(text).map_err(|failure| failure.text)?),
        },
    };
    Ok(Expiry { expiry: Some(expiry) })
}

/// Reads how long links may last: "30d", or "none" for any time.
pub(super) fn longest(text: &str) -> Result<Option<i64>, String> {
    if text == "none" {
        return Ok(None);
    }
    let wanted = || format!("\"{}\" is no such time: write 30d, 12h, 8w, 1y or none", text::line(text));
    seconds(text).ok_or_else(wanted)?.map(Some)
}

/// Reads a time with its unit; `None` for what is none.
fn seconds(text: &str) -> Option<Result<i64, String>> {
    let unit = match text.chars().last()? {
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        'w' => 7 * 24 * 60 * 60,
        'y' => 365 * 24 * 60 * 60,
        _ => return None,
    };
    let number = text.get(..text.len() - 1)?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = number.parse::<i64>().ok().and_then(|number| number.checked_mul(unit));
    Some(match seconds.filter(|seconds| *seconds <= LONGEST) {
        Some(0) => Err("a link that has ended at once opens nothing: give a longer time".to_owned()),
        Some(seconds) => Ok(seconds),
        None => Err("so long lasts nothing: write never for a link without an end".to_owned()),
    })
}

/// Seconds as people read them: "7 days", "12 hours".
pub(super) fn words(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let units = [(24 * 60 * 60, "day"), (60 * 60, "hour"), (60, "minute")];
    let whole = units.iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    whole.map_or_else(|| text::count(seconds, "second"), |(unit, noun)| text::count(seconds / unit, noun))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_from_now_a_time_to_come_or_never() {
        let after = |seconds| Some(expiry::Expiry::After(prost_types::Duration { seconds, nanos: 0 }));
        assert_eq!(until("7d").unwrap().expiry, after(604_800));
        assert_eq!(until("12h").unwrap().expiry, after(43_200));
        assert_eq!(until("30m").unwrap().expiry, after(1_800));
        assert_eq!(until("never").unwrap().expiry, Some(expiry::Expiry::Never(true)));
        assert!(matches!(until("2999-12-01").unwrap().expiry, Some(expiry::Expiry::At(_))));
        assert!(matches!(until("tomorrow 9am").unwrap().expiry, Some(expiry::Expiry::At(_))));
    }

    #[test]
    fn what_is_over_or_no_time_is_refused_in_a_sentence() {
        for (text, reason) in [
            ("2020-01-01", "is over"),
            ("yesterday", "is over"),
            ("0d", "at once"),
            ("99999999y", "never"),
            ("soon", "no time"),
            ("", "no time"),
            ("-7d", ""),
        ] {
            let told = until(text).unwrap_err();
            assert!(told.contains(reason) && !told.contains('\n'), "{text}: {told}");
        }
    }

    #[test]
    fn the_longest_time_is_one_or_none() {
        assert_eq!(longest("none"), Ok(None));
        assert_eq!(longest("30d"), Ok(Some(30 * 86_400)));
        assert!(longest("0d").is_err() && longest("tomorrow").is_err());
        assert_eq!(
            (words(86_400).as_str(), words(7_200).as_str(), words(61).as_str()),
            ("1 day", "2 hours", "61 seconds")
        );
    }
}
