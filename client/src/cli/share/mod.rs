//! Links for people who have no account: the commands, one file each. They ask share-svc.

use bytes::Bytes;
use quics_kit::names::Service;
use quics_proto::share::v1::share_service_client::ShareServiceClient;
use quics_proto::share::v1::{Link, ListLinksRequest};
use quics_quic::Channel;
use tonic::Status;

use super::sister::Sister;
use super::{Context, Failure, output};
use crate::account::call;
use crate::home::Token;
use crate::text;

mod edit;
mod list;
mod log;
mod make;
mod policy;
mod ready;
mod show;
mod unshare;
mod until;

pub(super) use list::Shares;
pub(super) use make::Share;
pub(super) use unshare::Unshare;

/// Hexadecimal digits of a link's id that are shown.
const SHOWN: usize = 8;
/// Digits that name a link at least.
const FEWEST: usize = 4;
/// Bytes of a label at most.
const LABEL_BYTES: usize = 256;

/// share-svc, as this device.
struct Sharing {
    client: ShareServiceClient<Channel>,
    sister: Sister,
}

/// Links that were listed, and what their addresses begin with.
struct Links {
    links: Vec<Link>,
    base: String,
}

impl Sharing {
    /// Asks registry-svc where share-svc is.
    ///
    /// # Errors
    /// One sentence.
    async fn find(context: &Context) -> Result<Self, Failure> {
        let sister = Sister::find(context, Service::Share, |services| services.share).await?;
        let sister = sister
            .ok_or_else(|| Failure::new("nothing can be shared by this server: its owner has to start share-svc"))?;
        let client = ShareServiceClient::new(sister.channel.clone())
            .max_decoding_message_size(quics_types::limits::MESSAGE_BYTES);
        Ok(Self { client, sister })
    }

    /// What an answer that is none means to the user.
    fn refused(&self, status: &Status) -> Failure {
        self.sister.refused(status)
    }

    /// All links of a root, or of all where `root_id` is empty; with those that have ended.
    async fn links(&mut self, root_id: Bytes, ended: bool) -> Result<Links, Failure> {
        let mut request = ListLinksRequest { root_id, ended, ..Default::default() };
        let mut links = Vec::new();
        loop {
            let page = self.client.list_links(call(request.clone())).await;
            let page = page.map_err(|status| self.refused(&status))?.into_inner();
            links.extend(page.links);
            if page.next_page_token.is_empty() {
                return Ok(Links { links, base: page.url_base });
            }
            request.page_token = page.next_page_token;
        }
    }

    /// The link that a text names: the beginning of its id, or its address where it was made here.
    ///
    /// # Errors
    /// One sentence.
    async fn named(&mut self, context: &Context, text: &str) -> Result<Link, Failure> {
        let named = Named::parse(text).ok_or_else(|| unknown(text))?;
        let links = self.links(Bytes::new(), true).await?.links;
        named.find(context, links)?.ok_or_else(|| unknown(text))
    }
}

fn unknown(text: &str) -> Failure {
    Failure::new(format!("no link is named {}: `quics shares --all` lists them", text::line(text)))
}

/// How a person names a link.
#[derive(Debug, PartialEq)]
enum Named {
    /// By its address.
    Address(Token),
    /// By the beginning of its id.
    Id(String),
}

impl Named {
    fn parse(text: &str) -> Option<Self> {
        if text.contains("://") {
            // What stands behind the token is a place in a folder.
            let path = text.split(['?', '#']).next()?;
            return path.split('/').find_map(Token::parse).map(Self::Address);
        }
        let id = text.to_ascii_lowercase();
        let hex = id.bytes().all(|byte| byte.is_ascii_hexdigit());
        ((FEWEST..=32).contains(&id.len()) && hex).then_some(Self::Id(id))
    }

    /// Finds it among links.
    ///
    /// # Errors
    /// One sentence where it may be several.
    fn find(&self, context: &Context, links: Vec<Link>) -> Result<Option<Link>, Failure> {
        let mut found = Vec::new();
        for link in links {
            let is = match self {
                Self::Id(id) => output::hex(&link.link_id).starts_with(id),
                Self::Address(token) => context.home.token(&link.link_id)?.as_ref() == Some(token),
            };
            if is {
                found.push(link);
            }
        }
        match (found.pop(), found.is_empty()) {
            (link, true) => Ok(link),
            _ => Err(Failure::new(
                "several links begin so: give more of the id, which `quics shares --json` shows whole",
            )),
        }
    }
}

/// Reads a label.
fn label(text: &str) -> Result<String, String> {
    if text.len() > LABEL_BYTES || text.chars().any(char::is_control) {
        let begin: String = text.chars().take(40).collect();
        let more = if begin.len() < text.len() { "…" } else { "" };
        return Err(format!(
            "\"{}{more}\" is no label: one has at most {LABEL_BYTES} bytes and no control characters",
            text::line(&begin)
        ));
    }
    Ok(text.to_owned())
}

/// Reads how many downloads a link is good for.
fn limit(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) => Err("a limit of 0 would let nobody download it: leave it out for no limit".to_owned()),
        Ok(limit) => Ok(limit),
        Err(_) => Err(format!("\"{}\" is no number of downloads", text::line(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_named_by_its_address_or_the_beginning_of_its_id() {
        let token = Token::new([7; 32]);
        let text = token.text();
        for address in [
            format!("https://files.example/s/{text}"),
            format!("https://files.example/s/{text}/photos/a.jpg?download=1"),
            format!("http://127.0.0.1:6120/{text}#top"),
        ] {
            assert_eq!(Named::parse(&address), Some(Named::Address(Token::new([7; 32]))), "{address}");
        }
        assert_eq!(Named::parse("3FA9c01d"), Some(Named::Id("3fa9c01d".to_owned())));
        for text in ["", "3fa", "plan.odt", "https://files.example/s/short", &"a".repeat(33)] {
            assert_eq!(Named::parse(text), None, "{text}");
        }
    }

    #[test]
    fn limits_and_labels_that_cannot_be_are_refused() {
        assert_eq!(limit("5"), Ok(5));
        for text in ["0", "-1", "", "5.5", "99999999999"] {
            assert!(limit(text).is_err(), "{text}");
        }
        assert_eq!(label("for Ann").as_deref(), Ok("for Ann"));
        assert!(label("a\nb").is_err() && label(&"x".repeat(257)).is_err());
    }
}
