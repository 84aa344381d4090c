use super::{Claim, Election, Record, Timing, Todo, Written};

const TIMING: Timing = Timing { lease: 7_000, renew_deadline: 5_000, retry: 1_000 };

fn record(holder: &str, version: &str) -> Record {
    Record { holder: holder.to_owned(), version: version.to_owned(), lease: 7_000, transitions: 3 }
}

fn claim(version: Option<&str>, transitions: i32, takes_over: bool) -> Claim {
    Claim { version: version.map(str::to_owned), transitions, takes_over }
}

fn done(version: &str) -> Written {
    Written::Done(version.to_owned())
}

/// A candidate that took a released record over at 0, with a write sent at 0 and answered at 100.
fn leader() -> Election {
    let mut election = Election::new("a", TIMING);
    assert_eq!(election.next(0), Todo::Read);
    election.read(0, Ok(Some(record("", "1"))));
    let taken = claim(Some("1"), 4, true);
    assert_eq!(election.next(0), Todo::Write(taken.clone()));
    election.written(&taken, 0, 100, done("2"));
    election
}

#[test]
fn what_nobody_holds_is_taken_at_once() {
    let mut election = Election::new("a", TIMING);
    assert_eq!(election.next(0), Todo::Read);
    election.read(10, Ok(None));
    assert_eq!(election.next(10), Todo::Write(claim(None, 0, true)));
    assert_eq!(leader().held(), Some((1, 5_000)));
}

#[test]
fn the_holder_renews_in_time_and_its_time_counts_from_when_it_asked() {
    let mut election = leader();
    assert_eq!(election.next(100), Todo::Wait(2_000));
    let renewal = claim(Some("2"), 4, false);
    assert_eq!(election.next(2_000), Todo::Write(renewal.clone()));
    election.written(&renewal, 2_000, 3_900, done("3"));
    assert_eq!(election.held(), Some((1, 7_000)));
}

#[test]
fn the_holder_stops_at_the_deadline_whatever_it_is_told_later() {
    let mut election = leader();
    let renewal = claim(Some("2"), 4, false);
    assert_eq!(election.next(2_000), Todo::Write(renewal.clone()));
    election.written(&renewal, 2_000, 4_000, Written::Unknown);
    assert_eq!(election.next(4_999), Todo::Read);
    assert!(election.held().is_some());
    assert_eq!(election.next(5_000), Todo::Read);
    assert_eq!(election.held(), None);
    // The answer to a renewal that was accepted comes when its time is over: that says nothing of now.
    election.written(&renewal, 2_000, 7_000, done("3"));
    assert_eq!(election.held(), None);
}

#[test]
fn a_write_whose_answer_was_lost_is_found_by_reading() {
    let mut election = leader();
    let renewal = claim(Some("2"), 4, false);
    election.written(&renewal, 2_000, 4_000, Written::Unknown);
    assert_eq!(election.next(4_000), Todo::Read);
    election.read(4_100, Ok(Some(Record { transitions: 4, ..record("a", "3") })));
    let again = claim(Some("3"), 4, false);
    assert_eq!(election.next(4_100), Todo::Write(again.clone()));
    election.written(&again, 4_100, 4_200, done("4"));
    assert_eq!(election.held(), Some((1, 9_100)), "the same term of office");
}

#[test]
fn what_another_holds_is_taken_when_it_was_not_seen_to_change_for_the_lease_time() {
    let mut election = Election::new("b", TIMING);
    assert_eq!(election.next(1_000), Todo::Read);
    election.read(1_500, Ok(Some(record("a", "1"))));
    assert_eq!(election.next(1_500), Todo::Wait(2_500));
    assert_eq!(election.holder(), Some("a"));
    // Renewed: the time starts anew, whatever the record itself says of times.
    assert_eq!(election.next(2_500), Todo::Read);
    election.read(2_600, Ok(Some(record("a", "2"))));
    assert_eq!(election.next(2_600), Todo::Wait(3_600));
    election.read(9_599, Ok(Some(record("a", "2"))));
    assert_eq!(election.next(9_599), Todo::Wait(10_599));
    election.read(10_599, Ok(Some(record("a", "2"))));
    assert_eq!(election.next(10_599), Todo::Write(claim(Some("2"), 4, true)));
}

#[test]
fn nothing_is_taken_on_what_was_read_long_ago() {
    let mut election = Election::new("b", TIMING);
    assert_eq!(election.next(0), Todo::Read);
    election.read(0, Ok(Some(record("a", "1"))));
    assert_eq!(election.next(0), Todo::Wait(1_000));
    // Stopped for long: it reads again first.
    assert_eq!(election.next(60_000), Todo::Read);
    election.read(60_000, Ok(Some(record("a", "30"))));
    assert_eq!(election.next(60_000), Todo::Wait(61_000));
}

#[test]
fn a_longer_promise_is_believed() {
    let mut election = Election::new("b", TIMING);
    let long = Record { lease: 15_000, ..record("a", "1") };
    election.read(0, Ok(Some(long.clone())));
    assert!(matches!(election.next(0), Todo::Wait(_)));
    election.read(14_999, Ok(Some(long.clone())));
    assert!(matches!(election.next(14_999), Todo::Wait(_)));
    election.read(15_000, Ok(Some(long)));
    assert_eq!(election.next(16_000), Todo::Write(claim(Some("1"), 4, true)));
}

#[test]
fn who_sees_another_holder_stops_at_once() {
    let mut election = leader();
    election.read(1_000, Ok(Some(record("b", "9"))));
    assert_eq!(election.held(), None);
    let mut election = leader();
    election.read(1_000, Ok(None));
    assert_eq!(election.held(), None, "somebody deleted the record, and anybody may make it anew");
}

#[test]
fn a_conflict_is_looked_into_at_once() {
    let mut election = leader();
    election.written(&claim(Some("2"), 4, false), 2_000, 2_050, Written::Conflict);
    assert_eq!(election.next(2_050), Todo::Read);
    assert_eq!(election.held(), Some((1, 5_000)), "nothing is known yet");
}

#[test]
fn an_outage_is_waited_out_without_haste() {
    let mut election = Election::new("a", TIMING);
    assert_eq!(election.next(0), Todo::Read);
    election.read(2_000, Err(()));
    assert_eq!(election.next(2_000), Todo::Wait(3_000));
    assert_eq!(election.next(3_000), Todo::Read);
}

#[test]
fn a_release_ends_the_term_and_is_written_on_condition() {
    let mut election = leader();
    assert_eq!(election.release(1_000), Some(claim(Some("2"), 4, false)));
    assert_eq!(election.held(), None);
    assert_eq!(election.release(1_000), None);
    assert_eq!(Election::new("b", TIMING).release(0), None);
}

#[test]
fn who_holds_the_record_still_after_an_outage_has_another_term() {
    let mut election = leader();
    assert_eq!(election.next(30_000), Todo::Read);
    election.read(30_000, Ok(Some(Record { transitions: 4, ..record("a", "2") })));
    let again = claim(Some("2"), 4, false);
    assert_eq!(election.next(30_000), Todo::Write(again.clone()));
    election.written(&again, 30_000, 30_010, done("3"));
    assert_eq!(election.held(), Some((2, 35_000)));
}
