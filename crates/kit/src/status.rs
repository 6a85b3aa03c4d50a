//! Domain errors become gRPC statuses, in one place.

use std::error::Error as StdError;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// An error that says which status code its callers see.
///
/// Its `Display` text goes to the caller with every code but INTERNAL, UNKNOWN and DATA_LOSS, so it must hold nothing that
/// the caller may not know.
pub trait Domain: StdError {
    /// The status code.
    fn code(&self) -> Code;

    /// How long the caller should wait before it tries again, where that is known.
    fn retry_after(&self) -> Option<Duration> {
        None
    }

    /// What travels along as google.rpc messages.
    fn details(&self) -> ErrorDetails {
        let mut details = ErrorDetails::new();
        if let Some(wait) = self.retry_after() {
            details.set_retry_info(Some(wait));
        }
        details
    }
}

/// Turns a domain error into what the caller sees.
///
/// Faults of our own (INTERNAL, UNKNOWN, DATA_LOSS) are logged with all their causes under a random id, and the caller is
/// told the id only.
pub fn status<E: Domain + ?Sized>(error: &E) -> Status {
    let code = error.code();
    if matches!(code, Code::Internal | Code::Unknown | Code::DataLoss) {
        let id = data_encoding::HEXLOWER.encode(&crate::random::bytes::<8>());
        tracing::error!(%id, code = ?code, error = %chain(error), "rpc.fault");
        return Status::new(code, format!("an internal error, logged as {id}"));
    }
    Status::with_error_details(code, error.to_string(), error.details())
}

/// The time after which a status says that its call may be tried again, where it says so.
pub fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info().and_then(|info| info.retry_delay)
}

/// An error and its causes in one line, outermost first; a cause that the text before already ends with is left out.
pub fn chain<E: StdError + ?Sized>(error: &E) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    for _ in 0..16 {
        let Some(next) = cause else { break };
        let said = next.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("too many attempts")]
        Limited,
        #[error("the secret disk at /dev/sdx broke")]
        Disk(#[source] std::io::Error),
    }

    impl Domain for Failure {
        fn code(&self) -> Code {
            match self {
                Failure::Limited => Code::ResourceExhausted,
                Failure::Disk(_) => Code::Internal,
            }
        }
        fn retry_after(&self) -> Option<Duration> {
            matches!(self, Failure::Limited).then_some(Duration::from_secs(7))
        }
    }

    #[test]
    fn callers_learn_how_long_to_wait() {
        let status = status(&Failure::Limited);
        assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "too many attempts"));
        assert_eq!(retry_after(&status), Some(Duration::from_secs(7)));
    }

    #[test]
    fn callers_learn_nothing_of_our_own_faults_but_an_id() {
        let failure = Failure::Disk(std::io::Error::other("cable"));
        let shown = status(&failure);
        assert_eq!(shown.code(), Code::Internal);
        assert!(!shown.message().contains("disk") && !shown.message().contains("cable"), "{shown:?}");
        assert_eq!(chain(&failure), "the secret disk at /dev/sdx broke: cable");
    }
}
