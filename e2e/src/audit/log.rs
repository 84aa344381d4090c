//! The log's files: the one that is written, and those that were rotated away.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    time::SystemTime,
};

use jiff::Timestamp;

use super::Event;

/// The events of a log, oldest first, one line in memory at a time. A line that cannot be read is an error of its own;
/// a last line without an end is being written and is left out.
///
/// Rotated files that were complete before `since` are left out.
pub fn events(
    log: &Path,
    since: Option<Timestamp>,
) -> io::Result<impl Iterator<Item = Result<Event, serde_json::Error>>> {
    let since = since.map(SystemTime::from);
    let mut readers = Vec::new();
    for file in files(log)? {
        let file = File::open(file)?;
        if since.is_none_or(|since| file.metadata().and_then(|data| data.modified()).is_ok_and(|at| at >= since)) {
            readers.push(BufReader::with_capacity(1 << 20, file));
        }
    }
    Ok(readers.into_iter().flat_map(lines).map(|line| Event::parse(&line)))
}

/// `audit-TIME.log`, in the order of time, then `audit.log`.
fn files(log: &Path) -> io::Result<Vec<PathBuf>> {
    let stem = log.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder = log.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&format!("{stem}-")) && path.extension() == log.extension() {
            files.push(path);
        }
    }
    files.sort();
    files.push(log.to_owned());
    Ok(files)
}

fn lines(mut reader: impl BufRead) -> impl Iterator<Item = String> {
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        // An error ends the file, as its end does: what is missing shows as a write without its predecessor.
        let read = reader.read_until(b'\n', &mut line).unwrap_or_default();
        (read > 0 && line.ends_with(b"\n")).then(|| String::from_utf8_lossy(&line).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Cursor};

    use super::{files, lines};

    #[test]
    fn a_line_that_is_being_written_is_left_out() {
        assert_eq!(lines(Cursor::new("a\nb\nc")).collect::<Vec<_>>(), ["a\n", "b\n"]);
    }

    #[test]
    fn rotated_files_come_first_and_in_order() {
        let folder = std::env::temp_dir().join(format!("sluice-audit-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for name in ["audit.log", "audit-2026-02.log", "audit-2026-01.log", "audit-x.txt", "other-1.log"] {
            fs::write(folder.join(name), "").unwrap();
        }
        let found = files(&folder.join("audit.log")).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_string_lossy()).collect();
        assert_eq!(names, ["audit-2026-01.log", "audit-2026-02.log", "audit.log"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
