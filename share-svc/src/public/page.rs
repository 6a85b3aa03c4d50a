//! The pages: rendered here, without a script, for every browser.

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};
use quics_types::{Mtime, Name};

use super::address::join;
use super::names::{Preview, media, shown, size};
use super::order::{Order, Sort};
use super::zip;
use crate::desk::{Fetch, File, Item, ItemKind, Opened, Sums};

/// Bytes of a text that its page shows.
pub(super) const TEXT: u64 = 64 << 10;
/// Entries of a folder on one page.
const ROWS: usize = 1000;

fn frame(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) }
                link rel="stylesheet" href=(super::STYLE);
            }
            body {
                main { (body) }
                footer { p { "Shared with QUIC-S" } }
            }
        }
    };
    page.into_string()
}

/// A page that says one thing.
pub(super) fn notice(title: &str, text: &str) -> String {
    frame(title, &html! { h1 { (title) } p { (text) } })
}

/// Asks for the password.
pub(super) fn password(base: &str, wrong: bool) -> String {
    let body = html! {
        h1 { "This link needs a password" }
        @if wrong { p role="alert" { strong { "That is not the password." } } }
        form method="post" action=(format!("{base}/password")) {
            label for="password" { "Password" }
            input id="password" type="password" name="password" required autocomplete="off";
            button type="submit" { "Open" }
        }
    };
    frame("Password", &body)
}

/// Says that a download is counted, and begins it.
pub(super) fn begin(base: &str, path: &[Name], what: Fetch) -> String {
    let body = html! {
        h1 { "Downloads of this link are counted" }
        p { "Nothing was counted yet. A download that was begun can be resumed for a day." }
        (begin_form(base, path, what, "Begin the download"))
    };
    frame("Download", &body)
}

fn address(base: &str, word: &str, path: &[Name]) -> String {
    join(format!("{base}/{word}"), path.iter().map(Name::as_bytes))
}

fn begin_form(base: &str, path: &[Name], what: Fetch, text: &str) -> Markup {
    let action = address(base, &format!("begin/{}", what.as_str()), path);
    html! { form method="post" action=(action) { button type="submit" { (text) } } }
}

fn fetch(opened: &Opened, base: &str, path: &[Name], what: Fetch, text: &str) -> Markup {
    if opened.left.is_some() {
        return begin_form(base, path, what, text);
    }
    html! { p { a class="button" href=(address(base, what.as_str(), path)) { (text) } } }
}

fn bidi(text: &str) -> Markup {
    html! { bdi { (text) } }
}

/// Where in the folder somebody is.
fn crumbs(opened: &Opened, base: &str, path: &[Name]) -> Markup {
    html! {
        @if !path.is_empty() {
            nav aria-label="Folders" {
                ol {
                    li { a href=(base) { (bidi(&title(&opened.item))) } }
                    @for at in 1..path.len() {
                        li { a href=(address(base, "f", &path[..at])) { (bidi(&shown(path[at - 1].as_bytes()))) } }
                    }
                }
            }
        }
    }
}

fn title(item: &Item) -> String {
    if item.name.is_empty() { "Shared folder".to_owned() } else { shown(&item.name) }
}

fn terms(opened: &Opened) -> Markup {
    html! {
        @if !opened.label.is_empty() { p { (bidi(&shown(opened.label.as_bytes()))) } }
    }
}

fn ends(opened: &Opened) -> Markup {
    html! {
        @if let Some(expires) = opened.expires { dt { "Link ends" } dd { (date(expires.into())) } }
        @if let Some(left) = opened.left {
            dt { "Downloads left" }
            dd { (left) }
        }
    }
}

/// The page of a file.
pub(super) fn file(
    opened: &Opened,
    base: &str,
    path: &[Name],
    item: &Item,
    file: &File,
    sums: Option<&Sums>,
    text: Option<&str>,
) -> String {
    let name = title(item);
    let body = html! {
        (crumbs(opened, base, path))
        h1 { (bidi(&name)) }
        (terms(opened))
        (fetch(opened, base, path, Fetch::File, &format!("Download ({})", size(file.size))))
        dl {
            dt { "Size" } dd { (size(file.size)) @if file.size >= 1024 { span class="soft" { " (" (file.size) " bytes)" } } }
            dt { "Changed" } dd { (date(item.changed)) }
            (ends(opened))
            @match sums {
                Some(sums) => {
                    dt { "BLAKE3" } dd { code { (hex(&sums.blake3)) } }
                    dt { "SHA-256" } dd { code { (hex(&sums.sha256)) } }
                }
                None => { dt { "Checksums" } dd { "being worked out: look again in a moment" } }
            }
        }
        (preview(opened, base, path, item, text))
        h2 { "Check the download" }
        p { "What one of these prints has to be the checksum above:" }
        dl {
            dt { "Linux" } dd { code { "sha256sum FILE" } }
            dt { "macOS" } dd { code { "shasum -a 256 FILE" } }
            dt { "Windows" } dd { code { "certutil -hashfile FILE SHA256" } }
            dt { "BLAKE3" } dd { code { "b3sum FILE" } }
        }
        p class="soft" { "A download that was interrupted can be resumed: in the browser, or by curl -C - or wget -c." }
    };
    frame(&name, &body)
}

fn preview(opened: &Opened, base: &str, path: &[Name], item: &Item, text: Option<&str>) -> Markup {
    let raw = address(base, "raw", path);
    let name = title(item);
    html! {
        @if opened.left.is_none() {
            @match media(&item.name).1 {
                Some(Preview::Picture | Preview::Drawing) => { h2 { "Preview" } img src=(raw) alt=(format!("Preview of {name}")); }
                Some(Preview::Audio) => { h2 { "Preview" } audio controls preload="metadata" src=(raw) aria-label=(name) {} }
                Some(Preview::Video) => { h2 { "Preview" } video controls preload="metadata" src=(raw) aria-label=(name) {} }
                Some(Preview::Text) => @if let Some(text) = text {
                    h2 { "Preview" }
                    pre tabindex="0" aria-label=(format!("Text of {name}")) { (text) }
                    @if matches!(&item.kind, ItemKind::File(file) if file.size > TEXT) {
                        p class="soft" { "Only the beginning is shown." }
                    }
                },
                None => {}
            }
        }
    }
}

/// The page of a folder.
pub(super) fn folder(
    opened: &Opened,
    base: &str,
    path: &[Name],
    item: &Item,
    mut items: Vec<Item>,
    order: Order,
) -> String {
    let left_out = items.iter().any(|item| matches!(item.kind, ItemKind::Symlink | ItemKind::Unit));
    let renamed = table_of_names(&items);
    order.sort(&mut items);
    let here = if path.is_empty() { base.to_owned() } else { address(base, "f", path) };
    let column = |text: &str, by: Sort, class: &str| {
        let direction = (order.by == by).then_some(if order.reversed { by.other_way() } else { by.usual_way() });
        html! {
            th scope="col" class=(class) aria-sort=[direction] {
                a href=(format!("{here}?{}", order.clicked(by))) { (text) }
            }
        }
    };
    let pages = items.len().div_ceil(ROWS);
    let page = order.page.min(pages.saturating_sub(1));
    let name = title(item);
    let body = html! {
        (crumbs(opened, base, path))
        h1 { (bidi(&name)) }
        (terms(opened))
        (fetch(opened, base, path, Fetch::Zip, "Download all (zip)"))
        @if opened.expires.is_some() || opened.left.is_some() { dl { (ends(opened)) } }
        @if items.is_empty() { p { "Nothing is in this folder." } } @else {
            table {
                thead { tr {
                    (column("Name", Sort::Name, ""))
                    (column("Size", Sort::Size, "number"))
                    (column("Changed", Sort::Date, "number date"))
                } }
                tbody {
                    @for item in items.iter().skip(page * ROWS).take(ROWS) { (row(base, path, item)) }
                }
            }
        }
        @if pages > 1 {
            nav aria-label="Pages" {
                ul class="pages" {
                    @if page > 0 { li { a rel="prev" href=(format!("{here}?{}", order.at(page - 1))) { "Previous" } } }
                    li { "Page " (page + 1) " of " (pages) }
                    @if page + 1 < pages { li { a rel="next" href=(format!("{here}?{}", order.at(page + 1))) { "Next" } } }
                }
            }
        }
        @if left_out {
            p class="soft" { "Links and packages are listed, and left out of downloads." }
        }
        (renamed)
    };
    frame(&name, &body)
}

/// What is called otherwise in the archive, since not every system can have it as it is.
fn table_of_names(items: &[Item]) -> Markup {
    let renamed = zip::renamed(items);
    html! {
        @if !renamed.is_empty() {
            details {
                summary { "Names that are others in the zip (" (renamed.len()) ")" }
                dl {
                    @for (item, given) in renamed.iter().take(ROWS) {
                        dt { (bidi(&shown(&item.name))) } dd { (bidi(&shown(given.as_bytes()))) }
                    }
                }
                @if renamed.len() > ROWS { p class="soft" { "And others." } }
            }
        }
    }
}

fn row(base: &str, path: &[Name], item: &Item) -> Markup {
    let target = join(address(base, "f", path), [&item.name[..]]);
    let text = shown(&item.name);
    html! {
        tr {
            td {
                @match &item.kind {
                    ItemKind::File(_) => a href=(target) { (bidi(&text)) },
                    ItemKind::Folder => a href=(target) { (bidi(&text)) "/" },
                    ItemKind::Symlink => { (bidi(&text)) span class="soft" { " (link)" } },
                    ItemKind::Unit => { (bidi(&text)) span class="soft" { " (package)" } },
                }
            }
            td class="number" { @if let ItemKind::File(file) = &item.kind { (size(file.size)) } }
            td class="number date" { @if item.kind != ItemKind::Folder { (date(item.changed)) } }
        }
    }
}

fn date(time: Mtime) -> String {
    // What is before the first or behind the last year that has a date has none.
    let at = Timestamp::from_second(time.seconds).ok();
    at.map(|at| at.strftime("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// A time as HTTP has it; `None` where it has none for it.
pub(super) fn http_date(time: Mtime) -> Option<String> {
    let at = Timestamp::from_second(time.seconds).ok().filter(|_| time.seconds >= 0)?;
    Some(at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_http_has_them() {
        let date = |seconds| http_date(Mtime { seconds, nanos: 0 });
        assert_eq!(date(784_111_777).as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(date(-1), None);
    }
}
