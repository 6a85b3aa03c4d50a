//! Merged versions: of texts whose changes do not touch each other, by a person's editor or merge tool.
//!
//! All of it happens in a directory below the home; the synced folder sees the result only as the answer's new version.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::api;
use crate::cli::files::{self, Workbench};
use crate::cli::sides::{Conflict, Side, file};
use crate::cli::{Context, Failure, difference};
use crate::merge::{self, Labels, Merged, TEXT_BYTES};
use crate::text;

/// The longest merged version that is looked at, in bytes.
const MERGED_BYTES: usize = 4 * TEXT_BYTES;

/// The texts of a conflict between the server and one candidate.
pub(super) struct Texts {
    pub(super) server: Vec<u8>,
    /// Empty where both made it anew.
    pub(super) base: Vec<u8>,
    pub(super) other: Vec<u8>,
    label: String,
}

impl Texts {
    /// The three-way merge.
    pub(super) fn merge(&self) -> Merged {
        let labels = Labels { server: "the server's", base: "before", other: &self.label };
        merge::merge(&self.base, &self.server, &self.other, labels)
    }
}

/// Reads the texts of the server and a candidate; `None` where they are no texts, or too long.
pub(super) async fn texts(agent: &mut api::Client, conflict: &Conflict, side: &Side) -> Result<Option<Texts>, Failure> {
    let (Some(server), Some(other)) = (conflict.server().file(), side.file()) else { return Ok(None) };
    let mut sides = Vec::new();
    for file in [Some(server), file(side.base.as_ref()), Some(other)] {
        let Some(file) = file else {
            sides.push(Vec::new());
            continue;
        };
        let request = files::request(&conflict.listed.root_id, file, &conflict.listed.path);
        match difference::text_of(agent, request).await? {
            Some(bytes) => sides.push(bytes.into()),
            None => return Ok(None),
        }
    }
    let label = side.author.as_ref().map(crate::agent::conflicts::label).unwrap_or_default();
    Ok(match <[Vec<u8>; 3]>::try_from(sides) {
        Ok([server, base, other]) => Some(Texts { server, base, other, label: format!("{label}'s") }),
        Err(_) => None,
    })
}

/// The candidate that is merged with the server's version: the only one. A merge with one of several would drop the
/// others.
///
/// # Errors
/// One sentence: there is nothing to merge, or there are more than two sides.
pub(super) fn partner(conflict: &Conflict) -> Result<&Side, String> {
    if conflict.is_about_a_unit() {
        return Err("it is one thing with everything in it and cannot be merged: keep one side, or both".to_owned());
    }
    match conflict.candidates() {
        [only] if only.file().is_some() => Ok(only),
        [] | [_] => Err("there are not two files to merge: keep one side, or give --file".to_owned()),
        _ => Err(format!(
            "there are {} sides, and a merge of more than two is not made: keep one, both, or give --file",
            conflict.sides.len()
        )),
    }
}

type Made = Result<(Workbench, PathBuf), String>;

/// Makes a merged version, with a tool where one is given. The inner error is the sentence that says why not.
pub(super) async fn merge(
    context: &Context,
    agent: &mut api::Client,
    conflict: &Conflict,
    tool: Option<&str>,
) -> Result<Made, Failure> {
    let side = match partner(conflict) {
        Ok(side) => side,
        Err(reason) => return Ok(Err(reason)),
    };
    let texts = texts(agent, conflict, side).await?;
    if let Some(tool) = tool {
        return with_tool(context, agent, conflict, side, texts.as_ref(), tool).await;
    }
    let Some(texts) = texts else {
        return Ok(Err("these are no texts that can be merged: keep one side, or give --file or --tool".to_owned()));
    };
    match texts.merge() {
        Merged::Clean(text) => {
            let bench = Workbench::new(context, name(conflict))?;
            let merged = bench.put("merged", &text)?;
            Ok(Ok((bench, merged)))
        }
        Merged::Marked { places, .. } => Ok(Err(format!(
            "the changes touch each other in {}: run `quics resolve` on a terminal, or give --file or --tool",
            text::count(places as u64, "place")
        ))),
    }
}

/// Lets a person's tool make the merged version.
pub(super) async fn with_tool(
    context: &Context,
    agent: &mut api::Client,
    conflict: &Conflict,
    side: &Side,
    texts: Option<&Texts>,
    tool: &str,
) -> Result<Made, Failure> {
    let bench = Workbench::new(context, name(conflict))?;
    let mut variables: Vec<(&str, PathBuf)> = Vec::new();
    for (variable, place, file) in [
        ("SERVER", "server", conflict.server().file()),
        ("BASE", "base", file(side.base.as_ref())),
        ("MINE", "mine", side.file()),
    ] {
        let at = bench.place(place)?;
        match file {
            Some(file) => {
                let request = files::request(&conflict.listed.root_id, file, &conflict.listed.path);
                files::write(agent, request, &at).await?;
            }
            None => drop(bench.put(place, b"")?),
        }
        variables.push((variable, at));
    }
    let merged = match texts.map(Texts::merge) {
        Some(Merged::Clean(text) | Merged::Marked { text, .. }) => bench.put("merged", &text)?,
        // Whatever the tool makes of it is written there; the server's version is what it begins with.
        None => {
            let at = bench.place("merged")?;
            if let Some(file) = conflict.server().file() {
                let request = files::request(&conflict.listed.root_id, file, &conflict.listed.path);
                files::write(agent, request, &at).await?;
            }
            at
        }
    };
    variables.push(("MERGED", merged.clone()));
    // A tool that names no file gets them as people's tools take them: theirs, the result, mine.
    let command =
        if tool.contains('$') { tool.to_owned() } else { format!("{tool} \"$SERVER\" \"$MERGED\" \"$MINE\"") };
    let status = Command::new("sh").arg("-c").arg(&command).envs(variables).status();
    let status = status.map_err(|error| Failure::new(format!("cannot start the merge tool: {error}")))?;
    if !status.success() {
        return Ok(Err(format!("the merge tool failed ({status}): nothing was changed")));
    }
    Ok(check(&merged, texts.as_slice())?.map(|()| (bench, merged)))
}

/// Opens a merge with its markers in the person's editor.
pub(super) fn with_editor(context: &Context, conflict: &Conflict, texts: &Texts) -> Result<Made, Failure> {
    let bench = Workbench::new(context, name(conflict))?;
    let (Merged::Clean(text) | Merged::Marked { text, .. }) = texts.merge();
    let merged = bench.put("merged", &text)?;
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".into());
    // The variables may hold arguments, as everywhere.
    let mut command = editor;
    command.push(" \"$1\"");
    let status = Command::new("sh").arg("-c").arg(command).arg("sh").arg(&merged).status();
    let status = status.map_err(|error| Failure::new(format!("cannot start the editor: {error}")))?;
    if !status.success() {
        return Ok(Err(format!("the editor failed ({status}): nothing was changed")));
    }
    Ok(check(&merged, &[texts])?.map(|()| (bench, merged)))
}

/// Takes a file that the person merged. The inner error is the sentence that says why not.
pub(super) async fn given(
    agent: &mut api::Client,
    conflict: &Conflict,
    merged: &Path,
) -> Result<Result<(), String>, Failure> {
    // What is no file, the agent refuses.
    if !merged.is_file() {
        return Ok(Ok(()));
    }
    let Some(text) = files::load(merged, MERGED_BYTES)? else { return Ok(Ok(())) };
    let mut known = Vec::new();
    for side in conflict.candidates() {
        known.extend(texts(agent, conflict, side).await?);
    }
    Ok(finished(&text, &known.iter().collect::<Vec<_>>()))
}

/// Looks at what an editor or a tool made. The inner error is the sentence that says what is wrong with it.
fn check(merged: &Path, texts: &[&Texts]) -> Result<Result<(), String>, Failure> {
    let Some(text) = files::load(merged, MERGED_BYTES)? else { return Ok(Ok(())) };
    // Who gives up on a merge empties the file.
    if text.trim_ascii().is_empty() {
        return Ok(Err(
            "the merged version is empty: nothing was changed (where that is meant, give it with --file)".to_owned()
        ));
    }
    Ok(finished(&text, texts))
}

/// Whether a merge of these texts is finished: it has no markers that none of them had. Of what is no text nothing is
/// known.
fn finished(merged: &[u8], texts: &[&Texts]) -> Result<(), String> {
    let known: Vec<&[u8]> = texts.iter().flat_map(|it| [&it.server[..], &it.base, &it.other]).collect();
    if !known.is_empty() && merge::new_markers(merged, &known) {
        return Err("the merged version has markers left (<<<<<<<, =======, >>>>>>>): nothing was changed".to_owned());
    }
    Ok(())
}

/// The entry's name.
fn name(conflict: &Conflict) -> &[u8] {
    let path = conflict.relative();
    path.iter().rposition(|byte| *byte == b'/').map_or(path, |at| &path[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sides::tests::{conflict, content};

    #[test]
    fn a_merge_is_of_two_sides_and_says_how_many_there_are() {
        let mut conflict = conflict(false);
        assert!(partner(&conflict).unwrap_err().contains("there are 3 sides"), "a deleted one is a side too");
        conflict.sides[2].value = content(3, 30);
        conflict.sides[2].author.as_mut().unwrap().own = true;
        assert!(partner(&conflict).unwrap_err().contains("there are 3 sides"), "one's own is no better");
        conflict.sides.truncate(2);
        assert_eq!(partner(&conflict).unwrap().value, content(2, 20));
        conflict.sides[1].value = None;
        assert!(partner(&conflict).unwrap_err().contains("not two files"));
    }

    #[test]
    fn markers_are_found_in_a_merge_of_any_number_of_sides() {
        let texts = |other: &str| Texts {
            server: b"a\n".to_vec(),
            base: Vec::new(),
            other: other.as_bytes().to_vec(),
            label: String::new(),
        };
        let (one, two) = (texts("b\n"), texts("Title\n=======\n"));
        assert!(finished(b"a\n=======\nb\n", &[&one]).unwrap_err().contains("markers left"));
        assert_eq!(finished(b"a\n=======\nb\n", &[&one, &two]), Ok(()), "one of them had such a line");
        assert!(finished(b"<<<<<<< x\n", &[&one, &two]).is_err());
        assert_eq!(finished(b"<<<<<<< x\n", &[]), Ok(()), "of what is no text nothing is known");
    }

    #[test]
    fn an_emptied_file_is_no_merge() {
        let directory = tempfile::tempdir().unwrap();
        let merged = directory.path().join("merged");
        for empty in ["", "\n", " \n\n"] {
            std::fs::write(&merged, empty).unwrap();
            assert!(check(&merged, &[]).unwrap().unwrap_err().contains("is empty"), "{empty:?}");
        }
        std::fs::write(&merged, "a\n").unwrap();
        assert_eq!(check(&merged, &[]).unwrap(), Ok(()));
    }
}
